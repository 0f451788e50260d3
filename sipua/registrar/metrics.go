package registrar

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

type metrics struct {
	accepted     prometheus.Counter
	rejected     *prometheus.CounterVec
	delay        prometheus.Histogram
	commitErrors prometheus.Counter
	panics       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, mem *location.Memory) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_registers_total", Help: "REGISTER requests answered 200."}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_registers_refused_total",
			Help: "REGISTER requests refused, by status."}, []string{"status"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wakebridge_register_queue_seconds",
			Help:    "From the arrival of a REGISTER to its authorisation.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5}}),
		commitErrors: prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_store_commit_errors_total",
			Help: "Commits of registrations that failed."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_registrar_panics_total",
			Help: "REGISTER requests whose handling panicked and was contained."}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.accepted, m.rejected, m.delay, m.commitErrors, m.panics)
	gauge := func(state string, of func(location.Stats) int) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wakebridge_devices",
			Help: "Known devices by state.", ConstLabels: prometheus.Labels{"state": state}},
			func() float64 { return float64(of(mem.Stats())) }))
	}
	gauge("awake", func(s location.Stats) int { return s.Awake })
	gauge("wakeable", func(s location.Stats) int { return s.Wakeable })
	gauge("suspected", func(s location.Stats) int { return s.Suspected })
	gauge("known", func(s location.Stats) int { return s.Devices })
	return m
}

func (m *metrics) refused(err error) {
	m.rejected.WithLabelValues(strconv.Itoa(sipua.Status(err))).Inc()
}
