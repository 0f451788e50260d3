package bridge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge/quality"
)

// metrics are the bridge's; labels are bounded.
type metrics struct {
	active prometheus.Gauge
	calls  *prometheus.CounterVec
	wake   *prometheus.HistogramVec
	pdd    prometheus.Histogram
	invite prometheus.Histogram
	dtmf   *prometheus.CounterVec
	panics prometheus.Counter

	mos    *prometheus.HistogramVec
	trip   *prometheus.HistogramVec
	faults *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	buckets := []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2, 3, 5, 8, 13, 21, 30, 60}
	m := &metrics{
		active: prometheus.NewGauge(prometheus.GaugeOpts{Name: "wakebridge_calls_active", Help: "Calls that are not over."}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_calls_total",
			Help: "Calls that are over, by result."}, []string{"result"}),
		wake: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wakebridge_wake_seconds",
			Help: "From the caller's INVITE to each stage of waking, for the first woken device of a call that reached it.", Buckets: buckets}, []string{"stage"}),
		pdd: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wakebridge_post_dial_delay_seconds",
			Help: "From the caller's INVITE to the first 180 or 183 that it got.", Buckets: buckets}),
		invite: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wakebridge_register_to_invite_seconds",
			Help: "From an authorised REGISTER to the INVITE for the device that it woke.", Buckets: buckets}),
		dtmf: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_dtmf_keys_total",
			Help: "Keys that did not simply pass as RFC 4733 events, by what became of them."}, []string{"how"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_call_panics_total",
			Help: "Calls that were ended because their handling panicked."}),
		mos: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wakebridge_media_mos",
			Help:    "Estimated MOS of each audio stream of a call: of what the leg sent, as it came here, and of what it heard by its own reports.",
			Buckets: []float64{1.5, 2, 2.5, 3, 3.3, 3.6, 3.8, 4, 4.2, 4.3}}, []string{"leg", "direction"}),
		trip: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wakebridge_media_round_trip_seconds",
			Help:    "Mean time to the far end of each audio stream of a call and back, by RTCP.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .15, .2, .3, .5, 1, 2}}, []string{"leg"}),
		faults: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wakebridge_media_faults_total",
			Help: "What was wrong with the audio of calls, as their records name it in words."}, []string{"leg", "fault"}),
	}
	if reg != nil {
		reg.MustRegister(m.active, m.calls, m.wake, m.pdd, m.invite, m.dtmf, m.panics, m.mos, m.trip, m.faults)
	}
	return m
}

// What becomes of keys in wakebridge_dtmf_keys_total.
const (
	metricInfoToEvents = "info_to_rfc4733"
	metricEventsToInfo = "rfc4733_to_info"
	metricInfoToInfo   = "info_to_info"
	metricKeyLost      = "lost"
)

// stages of wakebridge_wake_seconds.
const (
	metricPushWritten  = "push_written"
	metricPushAccepted = "push_accepted"
	metricRegistered   = "registered"
	metricInvited      = "invited"
	metricRinging      = "ringing"
	metricAnswered     = "answered"
)

// reached observes a stage of waking once per call: for the first device that was
// pushed and got so far. What is behind "registered" counts only for a device that
// registered since: an INVITE over a connection that was there needs no waking.
func (c *Call) reached(i int, stage string, at time.Time) {
	a := &c.state.Attempts[i]
	came := a.Came || stage == metricPushWritten || stage == metricPushAccepted || stage == metricRegistered
	if c.own.stages[stage] || !a.WasPushed() || !came {
		return
	}
	c.own.stages[stage] = true
	c.b.metrics.wake.WithLabelValues(stage).Observe(at.Sub(c.started).Seconds())
}

// Labels of the metrics of media.
const (
	legApp         = "app"
	legTrunk       = "trunk"
	directionSent  = "sent"
	directionHeard = "heard"
)

func legKind(app bool) string {
	if app {
		return legApp
	}
	return legTrunk
}

// rated observes the audio streams of a leg when its call is over.
func (m *metrics) rated(app bool, streams []quality.Stream) {
	kind := legKind(app)
	for _, s := range streams {
		if s.MOSSent > 0 {
			m.mos.WithLabelValues(kind, directionSent).Observe(s.MOSSent)
		}
		if s.MOSHeard > 0 {
			m.mos.WithLabelValues(kind, directionHeard).Observe(s.MOSHeard)
		}
		if s.Media == "audio" && s.RoundTrip.Samples > 0 {
			m.trip.WithLabelValues(kind).Observe(s.RoundTrip.Mean.Seconds())
		}
	}
}
