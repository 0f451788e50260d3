package daemon

import (
	"context"
	"fmt"

	"wakebridge/bridge"
	"wakebridge/bridge/media"
	"wakebridge/bridge/sdes"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
)

// openCalls makes relay, push, bridge and registrar, and begins to qualify the
// trunks. The registrar comes last: its loop starts at once and may ask the
// bridge.
func (d *Daemon) openCalls(context.Context) error {
	u := newUsers(d.cfg.Domains)
	auth, err := newAuth(d.cfg.Domains, u, d.log)
	if err != nil {
		return err
	}
	auth.Failed = d.gate.failed
	table, err := newRouter(d.cfg)
	if err != nil {
		return err
	}
	if err := d.openMedia(); err != nil {
		return err
	}
	if d.waker, err = newWaker(d.cfg.Push, d.log, d.registry, d.opts.dialFunc()); err != nil {
		return err
	}
	d.waker.edit = func(e ...location.Edit) { d.registrar.Edit(e...) }
	d.waker.settle = func(ctx context.Context, e ...location.Edit) error {
		_, err := d.registrar.Do(ctx, e...)
		return err
	}
	d.alerts = newAlerts(d.waker, d.memory, d.amend, d.log)
	d.bridge = bridge.New(bridge.Config{
		Endpoint: func() *sipua.Endpoint { return d.endpoint }, Locator: d.memory, Waker: d.waker, Alerts: d.alerts, Fates: fates{d}, Records: records{d},
		Directory: u, Router: table, Verifier: auth, Trunks: d.trunks, Media: d.media, MediaAddr: d.addresses().mediaAddr, Captures: d.captures,
		Terms: terms(d.cfg, d.node()), Log: d.log, Registerer: d.registry,
	})
	d.registrar = registrar.New(registrar.Config{
		Memory: d.memory, Auth: auth, Domains: leases(d.cfg.Domains), Push: d.waker.terms(d.cfg.Push.Expires), Node: d.node(), Log: d.log,
		InCall: func(r location.Ref) bool { return d.bridge.InCall(r.AOR, r.Key) },
		Late:   d.bridge.Late, Proved: d.gate.proved, Supported: d.endpoint.Supported(), Registerer: d.registry,
	})
	d.onClose(func(context.Context) { d.registrar.Close() })
	d.onClose(func(context.Context) { d.logErr("push", d.waker.close()) })
	d.refresher = newRefresher(d.waker, d.memory, d.alive)
	d.onClose(func(context.Context) { d.refresher.close() })
	d.onClose(func(context.Context) { d.alerts.close() })
	d.onClose(d.lastWords)
	d.trunks.Start(d.endpoint)
	d.onClose(func(context.Context) { d.trunks.Close() })
	d.onClose(d.bridge.Close)
	return nil
}

// lastWords waits until the peers have answered the BYEs and CANCELs of the calls
// that the bridge has ended.
func (d *Daemon) lastWords(ctx context.Context) {
	if !d.endpoint.Settle(ctx) {
		d.log.Info("some peers did not answer our last requests")
	}
}

func (d *Daemon) openMedia() error {
	m := d.cfg.Media
	relay, err := media.New(media.Config{
		Network: d.opts.mediaNetwork(), Bind: m.Bind, PortStart: uint16(m.RTPStart), PortEnd: uint16(m.RTPEnd), //nolint:gosec // checked by config
		Timeouts: media.Timeouts{FirstPacket: m.Timeout.FirstPacket, Silence: m.Timeout.Silence, Hold: m.Timeout.Hold},
		Workers:  m.Workers, Log: d.log, Registerer: d.registry,
	})
	if err != nil {
		return fmt.Errorf("media.bind, media.rtp_start, media.rtp_end: %w", err)
	}
	d.media = relay
	d.onClose(func(context.Context) { relay.Close() })
	return nil
}

func terms(cfg *config.Config, node string) bridge.Terms {
	c, p := cfg.Calls, cfg.Push
	ringing := map[string]bridge.RingPolicy{"trying": bridge.RingTrying, "on_push": bridge.RingOnPush, "at_once": bridge.RingAtOnce}
	return bridge.Terms{
		Node: node, RingTimeout: c.RingTimeout, WakeTimeout: p.WakeTimeout, Ringing: ringing[p.Ringing], DeclineOne: c.Decline == "one",
		DeclineWindow: c.DeclineWindow, MaxDuration: c.MaxDuration, MergeWindow: c.MergeWindow, WaitingBusy: c.Waiting == "busy",
		Codecs: cfg.Media.Allow, SRTP: secureMedia(cfg.Media.SRTP), DTMF: keysBy(cfg.Media.DTMF), Ringback: cfg.Media.RingbackSound,
		WakesPerUser: perPeriod(cfg.Limits.WakesPerUser), WakesPerCaller: perPeriod(cfg.Limits.WakesPerCaller),
	}
}

// secureMedia is section media.srtp.
func secureMedia(c config.SRTP) sdes.Terms {
	policy := map[string]sdes.Policy{"off": sdes.Off, "optional": sdes.Optional, "required": sdes.Required}
	return sdes.Terms{Apps: policy[c.Apps], Trunks: policy[c.Trunks], AnyTransport: c.KeysOver == "any"}
}

// keysBy is media.dtmf.
func keysBy(word string) bridge.DTMF {
	return map[string]bridge.DTMF{"auto": bridge.DTMFAuto, "rfc4733": bridge.DTMFEvents, "info": bridge.DTMFInfo}[word]
}

func perPeriod(r config.Rate) bridge.Rate {
	if r.Off() {
		return bridge.Rate{}
	}
	return bridge.Rate{Count: r.Count, Per: r.Per}
}

// leases are the registrar's terms per domain.
func leases(domains []config.Domain) []registrar.Domain {
	out := make([]registrar.Domain, 0, len(domains))
	for _, c := range domains {
		out = append(out, registrar.Domain{Name: c.Name, MaxContacts: c.MaxContacts,
			Expires: registrar.Lease{Min: c.Expires.Min, Default: c.Expires.Default, Max: c.Expires.Max}})
	}
	return out
}
