package sipua

import (
	"github.com/emiago/sipgo/sip"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts messages. Labels are bounded: methods that nobody defined are
// counted as "other".
type metrics struct {
	requests  *prometheus.CounterVec
	responses *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	panics    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_sip_requests_total",
			Help: "SIP requests by direction, method and transport."}, []string{"dir", "method", "transport"}),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_sip_responses_total",
			Help: "SIP responses by direction and class of status."}, []string{"dir", "class"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_sip_rejected_total",
			Help: "Messages refused before anybody owned them, by status."}, []string{"status"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_sip_panics_total",
			Help: "Messages whose handling panicked and was contained."}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.responses, m.rejected, m.panics)
	}
	return m
}

func (m *metrics) sent(t Transport, msg sip.Message)     { m.count("out", t, msg) }
func (m *metrics) received(t Transport, msg sip.Message) { m.count("in", t, msg) }

func (m *metrics) count(dir string, t Transport, msg sip.Message) {
	switch msg := msg.(type) {
	case *sip.Request:
		m.requests.WithLabelValues(dir, methodLabel(msg.Method), t.String()).Inc()
	case *sip.Response:
		m.responses.WithLabelValues(dir, string(rune('0'+msg.StatusCode/100%10))+"xx").Inc()
	}
}

func methodLabel(m sip.RequestMethod) string {
	if knownMethod(string(m)) {
		return string(m)
	}
	return "other"
}

// knownMethod says that an RFC defines the method, so that refusing it is 405
// and not 501 (RFC 3261 s21.5.2).
func knownMethod(m string) bool {
	switch m {
	case "INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO", "UPDATE", "REFER", "PRACK",
		"SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH":
		return true
	}
	return false
}
