package capture

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's; labels are bounded.
type metrics struct {
	registerer prometheus.Registerer
	calls      *prometheus.CounterVec
	lost       *prometheus.CounterVec
	errors     prometheus.Counter
	bytes      prometheus.GaugeFunc
	files      prometheus.GaugeFunc
}

// What became of a recording.
const (
	kept      = "kept"
	discarded = "discarded" // its call went well
	failed    = "failed"    // the disk did not take it
)

func newMetrics(reg prometheus.Registerer, s *Store) (*metrics, error) {
	m := &metrics{
		registerer: reg,
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_capture_calls_total",
			Help: "Recordings of calls that are over, by what became of them."}, []string{"result"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_capture_lost_total",
			Help: "Messages, media packets and comments that no capture has: the queue, the call's share or max_bytes was full."}, []string{"kind"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_capture_errors_total", Help: "Errors of the disk."}),
		bytes: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wakebridge_capture_bytes", Help: "Bytes that captures take."},
			func() float64 { n, _ := s.disk.total(); return float64(n) }),
		files: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wakebridge_capture_files", Help: "Captures that are kept."},
			func() float64 { _, n := s.disk.total(); return float64(n) }),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range m.all() {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register capture metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.lost, m.errors, m.bytes, m.files}
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all() {
		m.registerer.Unregister(c)
	}
}
