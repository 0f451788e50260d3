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
	alarms *prometheus.CounterVec
	broken *prometheus.GaugeVec
	expiry *prometheus.GaugeVec
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
			Help: "Provider tokens (JWT) made: one for each key and about 40 minutes.",
		}),
		alarms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wakebridge_apns_alarms_total",
			Help: "Requests that APNs refused for a fault of this program or its configuration, by reason.",
		}, []string{"reason"}),
		broken: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wakebridge_apns_credential_broken",
			Help: "1 while APNs refuses a key or certificate, as a whole (topic empty) or for one topic.",
		}, []string{"env", "credential", "topic"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wakebridge_push_certificate_expiry_timestamp_seconds",
			Help: "When the certificate of an app expires, by its kind (voip, alert).",
		}, []string{"app", "kind"}),
	}
	if reg == nil {
		return m, nil
	}
	err := errors.Join(reg.Register(m.dials), reg.Register(m.tokens), reg.Register(m.alarms), reg.Register(m.broken), reg.Register(m.expiry))
	if err != nil {
		return nil, fmt.Errorf("register APNs metrics: %w", err)
	}
	return m, nil
}

// alarm counts a refusal that is our fault. Reasons that are not in the table
// are one: Apple's words must not make endless series.
func (m *metrics) alarm(reason push.Reason) {
	if _, known := rules[reason]; !known {
		reason = "other"
	}
	m.alarms.WithLabelValues(string(reason)).Inc()
}

// breaks shows the state of a credential.
func (m *metrics) breaks(env push.Environment, name string) func(topic string, broken bool) {
	return func(topic string, broken bool) {
		state := 0.0
		if broken {
			state = 1
		}
		m.broken.WithLabelValues(string(env), name, topic).Set(state)
	}
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
