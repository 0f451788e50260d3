package daemon

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/resolve"
	"wakebridge/sipua/trunk"
)

// openSIP makes trunks, gate and endpoint, still without listeners.
func (d *Daemon) openSIP(context.Context) error {
	peers, err := peers(d.cfg.Trunks)
	if err != nil {
		return err
	}
	d.trunks = trunk.New(trunk.Config{Peers: peers, Log: d.log, Resolve: resolver(resolve.New(resolve.Options{}))})
	d.gate, err = newGate(gateConfig{
		Limits: d.cfg.Limits, Log: d.log, IsUser: newUsers(d.cfg.Domains).has,
		IsTrunk: func(a netip.Addr) bool { return d.trunks.ByAddr(a) != nil }, Devices: d.memory.Devices,
	})
	if err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	conns := d.cfg.Limits.Connections
	d.endpoint = sipua.New(sipua.Config{
		Handler: &handler{d}, Log: d.log, Dial: d.opts.dial, Advertise: d.addresses().advertise, Party: d.party, ForceRPort: d.forceRPort(),
		Admit: d.gate.admit, Tap: d.tap(), Allow: methods(),
		Supported: []string{"path", "outbound"}, Agent: "Wakebridge/" + d.opts.Version,
		Limits:     sipua.Limits{Connections: orNone(conns.Total), Unauthenticated: orNone(conns.UnauthenticatedPerSource)},
		Registerer: d.registry,
	})
	d.onClose(func(context.Context) { d.endpoint.Close() })
	return nil
}

// methods are those that work here, for Allow.
func methods() []string {
	return []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "REGISTER", "INFO"}
}

func peers(trunks []config.Trunk) ([]trunk.Peer, error) {
	out := make([]trunk.Peer, 0, len(trunks))
	for _, t := range trunks {
		p := trunk.Peer{Name: t.Name, Match: t.Match, Qualify: t.Qualify, MaxCalls: t.MaxCalls, Progress: t.ProgressHeader,
			TrustIdentity: t.TrustIdentity, ForceRPort: t.ForceRPort}
		if err := sip.ParseUri(t.Contact, &p.Contact); err != nil {
			return nil, fmt.Errorf("trunks[%s].contact: %w", t.Name, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// orNone is a count for sipua.Limits, where 0 means the default.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func (d *Daemon) addresses() addresses {
	return addresses{network: d.cfg.Network, media: d.cfg.Media.Bind}
}

// party is sipua.Config.Party: peer trunks are known by their address.
func (d *Daemon) party(_ sipua.Transport, remote netip.AddrPort) string {
	if t := d.trunks.ByAddr(remote.Addr()); t != nil {
		return "trunk " + t.Name
	}
	return ""
}

// forceRPort is sipua.Config.ForceRPort: phones are behind NATs, of a trunk the
// operator knows.
func (d *Daemon) forceRPort() func(*sipua.Flow) bool {
	literal := make(map[string]bool) // trunks to be answered at the port of their Via
	for _, t := range d.cfg.Trunks {
		literal[t.Name] = !t.ForceRPort
	}
	return func(f *sipua.Flow) bool {
		t := d.trunks.ByAddr(f.Remote().Addr())
		return t == nil || !literal[t.Name]
	}
}
