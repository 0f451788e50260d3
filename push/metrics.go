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
// configured bundle id or project, or "unknown".
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wakebridge_push_requests_total",
			Help: "Pushes by service (apns, fcm), app, environment, kind (voip, alert, background, cancel) and result (accepted, refused, no_answer).",
		}, []string{"service", "app", "env", "kind", "result"}),
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

// count notes a push to app, the zero App if it is none that is configured.
func (m *metrics) count(app App, r Result) {
	service, bundle, env := "apns", app.BundleID, string(r.Environment)
	switch {
	case bundle == "":
		service, bundle = "unknown", "unknown"
	case app.Service == FCM:
		service = string(FCM)
	}
	if !r.Environment.Known() {
		env = "none"
	}
	m.requests.WithLabelValues(service, bundle, env, kindLabel(r.Kind), r.Outcome.String()).Inc()
	m.duration.WithLabelValues(r.Outcome.String()).Observe(r.Latency.Seconds())
	if r.Hedged {
		m.hedged.Inc()
	}
}

// kindLabel is a kind as metrics name it: "none" where it was not even decided.
func kindLabel(k Kind) string {
	switch k {
	case VoIP, Alert, Background, Cancel:
		return string(k)
	}
	return "none"
}
