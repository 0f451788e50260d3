package registrar_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
)

// A panic ends the REGISTER that met it, with 500, and no other.
func TestPanicEndsOneRegister(t *testing.T) {
	for name, tt := range map[string]struct {
		arm  func(t *testing.T, cfg *registrar.Config, armed *atomic.Bool)
		want int // status of the REGISTER that meets it
	}{
		"when it is authorised": {func(_ *testing.T, cfg *registrar.Config, armed *atomic.Bool) {
			cfg.Proved = func(*sipua.Flow) { explode(armed) }
		}, 500},
		"when it is answered": {func(_ *testing.T, cfg *registrar.Config, armed *atomic.Bool) {
			cfg.Late = func(location.Device, []location.Fate) []location.Fate {
				explode(armed)
				return nil
			}
		}, 500},
		"when a watcher hears of it": {func(t *testing.T, cfg *registrar.Config, armed *atomic.Bool) {
			_, stop := cfg.Memory.Watch(alice, func(location.Change) { explode(armed) })
			t.Cleanup(stop)
		}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var armed atomic.Bool
				reg := prometheus.NewRegistry()
				o := newOffice(t, func(cfg *registrar.Config) {
					cfg.Registerer = reg
					tt.arm(t, cfg, &armed)
				})
				p, q := o.phone("alice", aliceHost, sipua.TCP), o.phone("bob", bobHost, sipua.TCP)
				p.must(200, p.contact(push(token1), instance(phone1)))
				fate(o, "3f1a0000-0000-4000-8000-000000000001")
				p.sleep()
				p.connect()
				armed.Store(true)
				p.must(tt.want, p.contact(push(token1), instance(phone1)))
				time.Sleep(time.Second)
				if armed.Load() {
					t.Fatal("nothing panicked")
				}
				p.must(200, p.contact(push(token1), instance(phone1)))
				q.must(200, q.contact(push(token2), instance(phone2)))
				if n := counted(t, reg, "wakebridge_registrar_panics_total"); n != 1 || !strings.Contains(o.logged.String(), "barrier_test.go") {
					t.Errorf("%v counted; log:\n%s", n, o.logged)
				}
			})
		})
	}
}

// explode panics once when it is armed.
func explode(armed *atomic.Bool) {
	if armed.Swap(false) {
		panic("a fault of ours")
	}
}

func counted(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
