package metrics

import (
	"runtime"
	"testing"
)

func TestNew(t *testing.T) {
	reg := New("v1.2.3")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, f := range families {
		found[f.GetName()] = true
		if f.GetName() != "wakebridge_build_info" {
			continue
		}
		m := f.GetMetric()[0]
		labels := make(map[string]string)
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if m.GetGauge().GetValue() != 1 || labels["version"] != "v1.2.3" || labels["go"] != runtime.Version() {
			t.Errorf("%v", m)
		}
	}
	for _, name := range []string{"wakebridge_build_info", "go_goroutines"} {
		if !found[name] {
			t.Errorf("no %s", name)
		}
	}
	if New("v1") == reg {
		t.Error("two programs in one process share a registry")
	}
}
