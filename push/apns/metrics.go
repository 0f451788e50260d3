package apns

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/push"
)

type metrics struct {
	dials  *prometheus.CounterVec
	tokens prometheus.Counter
}

// newMetrics makes the package's metrics and registers them with reg; nil is
// allowed.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wakebridge_apns_dials_total",
			Help: "Connections to APNs begun, by environment and result (ok, failed).",
		}, []string{"env", "result"}),
		tokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wakebridge_apns_provider_tokens_total",
			Help: "Provider tokens (JWT) made: one for each key and 40 minutes.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	if err := errors.Join(reg.Register(m.dials), reg.Register(m.tokens)); err != nil {
		return nil, fmt.Errorf("register APNs metrics: %w", err)
	}
	return m, nil
}

// dialed counts the dials of one environment.
func (m *metrics) dialed(env push.Environment) func(ok bool) {
	good := m.dials.WithLabelValues(string(env), "ok")
	bad := m.dials.WithLabelValues(string(env), "failed")
	return func(ok bool) {
		if ok {
			good.Inc()
		} else {
			bad.Inc()
		}
	}
}
