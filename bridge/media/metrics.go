package media

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge/media/relay"
)

// totals sums the counters of many streams.
type totals struct {
	rtp, rtcp, sent, sentRTCP relay.Count
	lost                      uint64
	rejected                  relay.Rejections
}

func (t *totals) add(s StreamStats) {
	sum(&t.rtp, s.RTP)
	sum(&t.rtcp, s.RTCP)
	sum(&t.sent, s.Sent)
	sum(&t.sentRTCP, s.SentRTCP)
	t.lost += s.Lost
	for i, n := range s.Rejected {
		t.rejected[i] += n
	}
}

func sum(to *relay.Count, c relay.Count) {
	to.Packets += c.Packets
	to.Octets += c.Octets
}

func (t *totals) addAll(all []StreamStats) {
	for _, s := range all {
		t.add(s)
	}
}

// metrics counts at scrape time what the streams count anyway: a packet costs
// nothing extra.
type metrics struct {
	relay      *Relay
	registerer prometheus.Registerer
	past       totals // of closed sides; guarded by Relay.mu

	exhausted prometheus.Counter
	packets   *prometheus.Desc
	octets    *prometheus.Desc
	rejected  *prometheus.Desc
	lost      *prometheus.Desc
	ports     *prometheus.Desc
	sides     *prometheus.Desc
}

func newMetrics(registerer prometheus.Registerer, r *Relay) (*metrics, error) {
	m := &metrics{
		relay:      r,
		registerer: registerer,
		exhausted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wakebridge_media_ports_exhausted_total", Help: "Times that no port pair could be opened.",
		}),
		packets:  prometheus.NewDesc("wakebridge_media_packets_total", "Media packets accepted and sent.", []string{"kind", "direction"}, nil),
		octets:   prometheus.NewDesc("wakebridge_media_octets_total", "Octets of UDP payload in media packets accepted and sent.", []string{"kind", "direction"}, nil),
		rejected: prometheus.NewDesc("wakebridge_media_rejected_total", "Media packets not relayed.", []string{"reason"}, nil),
		lost:     prometheus.NewDesc("wakebridge_media_lost", "RTP packets missing in what was received; a late packet lowers it.", nil, nil),
		ports:    prometheus.NewDesc("wakebridge_media_ports_in_use", "UDP ports held by calls.", nil, nil),
		sides:    prometheus.NewDesc("wakebridge_media_sides", "Legs with open sockets.", nil, nil),
	}
	if registerer == nil {
		return m, nil
	}
	if err := registerer.Register(m); err != nil {
		return nil, fmt.Errorf("register media metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) unregister() {
	if m.registerer != nil {
		m.registerer.Unregister(m)
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.exhausted.Describe(ch)
	for _, d := range []*prometheus.Desc{m.packets, m.octets, m.rejected, m.lost, m.ports, m.sides} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.relay.mu.Lock()
	t, sides, pairs := m.past, len(m.relay.sides), m.relay.inUse
	for s := range m.relay.sides {
		t.addAll(s.Stats())
	}
	m.relay.mu.Unlock()

	m.exhausted.Collect(ch)
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n)
	}
	for _, row := range []struct {
		kind, direction string
		relay.Count
	}{{"rtp", "in", t.rtp}, {"rtcp", "in", t.rtcp}, {"rtp", "out", t.sent}, {"rtcp", "out", t.sentRTCP}} {
		count(m.packets, row.Packets, row.kind, row.direction)
		count(m.octets, row.Octets, row.kind, row.direction)
	}
	for _, reason := range relay.Reasons() {
		count(m.rejected, t.rejected[reason], reason.String())
	}
	gauge(m.lost, float64(t.lost))
	gauge(m.ports, float64(2*pairs))
	gauge(m.sides, float64(sides))
}
