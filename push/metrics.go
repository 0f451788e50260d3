package push

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	hedged   prometheus.Counter
}

// newMetrics makes the package's metrics and registers them with reg; nil is
// allowed and keeps them to ourselves. All labels are bounded: app is a
// configured bundle id or "unknown".
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wakebridge_push_requests_total",
			Help: "Pushes by app, environment and result (accepted, refused, no_answer).",
		}, []string{"app", "env", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "wakebridge_push_duration_seconds",
			Help:    "Time from the order to push to the service's answer or the end of waiting.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 1.6, 3, 5, 10, 30},
		}, []string{"result"}),
		hedged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wakebridge_push_hedged_total",
			Help: "Pushes sent a second time because the first request was silent or lost: the phone may get them twice.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	err := errors.Join(reg.Register(m.requests), reg.Register(m.duration), reg.Register(m.hedged))
	if err != nil {
		return nil, fmt.Errorf("register push metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) count(app string, r Result) {
	env := string(r.Environment)
	if !r.Environment.Known() {
		env = "none"
	}
	m.requests.WithLabelValues(app, env, r.Outcome.String()).Inc()
	m.duration.WithLabelValues(r.Outcome.String()).Observe(r.Latency.Seconds())
	if r.Hedged {
		m.hedged.Inc()
	}
}
