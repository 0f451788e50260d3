package daemon

import (
	"net/netip"

	"wakebridge/config"
	"wakebridge/sipua"
)

// addresses decides which address of ours a peer gets to see.
type addresses struct {
	network config.Network
	media   []netip.Addr
}

func (a addresses) isLocal(remote netip.Addr) bool {
	for _, p := range a.network.LocalNet {
		if p.Contains(remote.Unmap()) {
			return true
		}
	}
	return false
}

// pick is the external address of the flow's family for peers outside local_net,
// invalid if none is configured or the peer is inside.
func (a addresses) pick(ext config.Addresses, remote netip.Addr) netip.Addr {
	if a.isLocal(remote) {
		return netip.Addr{}
	}
	if remote.Unmap().Is4() {
		return ext.V4
	}
	return ext.V6
}

// advertise is sipua.Config.Advertise.
func (a addresses) advertise(f *sipua.Flow) (string, int) {
	if addr := a.pick(a.network.ExternalSignalingAddress, f.Remote().Addr()); addr.IsValid() {
		return addr.String(), f.Port()
	}
	return "", 0
}

// mediaAddr is what SDP shows on a flow: the external media address, else the
// address that media is bound to, else the one that the flow uses.
func (a addresses) mediaAddr(f *sipua.Flow) netip.Addr {
	if addr := a.pick(a.network.ExternalMediaAddress, f.Remote().Addr()); addr.IsValid() {
		return addr
	}
	local := f.Local().Addr().Unmap()
	for _, b := range a.media {
		if b.Is4() == local.Is4() && !b.IsUnspecified() {
			return b
		}
	}
	return local
}
