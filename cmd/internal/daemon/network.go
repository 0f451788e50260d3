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
		if p.Contains(remote) {
			return true
		}
	}
	return false
}

// external is the address of a family that peers outside local_net see, invalid if
// none is configured or the peer is inside.
func (a addresses) external(ext config.Addresses, remote netip.Addr, v4 bool) netip.Addr {
	switch {
	case a.isLocal(remote.Unmap()):
		return netip.Addr{}
	case v4:
		return ext.V4
	}
	return ext.V6
}

// advertise is sipua.Config.Advertise.
func (a addresses) advertise(f *sipua.Flow) (string, int) {
	remote := f.Remote().Addr().Unmap()
	if addr := a.external(a.network.ExternalSignalingAddress, remote, remote.Is4()); addr.IsValid() {
		return addr.String(), f.Port()
	}
	return "", 0
}

// mediaAddr is bridge.Config.MediaAddr.
func (a addresses) mediaAddr(f *sipua.Flow) netip.Addr {
	return a.mediaFor(f.Local().Addr().Unmap(), f.Remote().Addr().Unmap())
}

// mediaFor is what SDP shows to a peer: the external media address, else the
// address that media is bound to, else, where that is any, the one of the flow.
// The flow's family comes first; where media has no socket of it, the other one
// serves a peer that speaks both. If nothing fits it is the flow's address, for
// which the relay has no ports: the call fails with that reason.
func (a addresses) mediaFor(local, remote netip.Addr) netip.Addr {
	for _, v4 := range []bool{local.Is4(), !local.Is4()} {
		for _, bound := range a.media {
			bound = bound.Unmap()
			if bound.Is4() != v4 {
				continue
			}
			if ext := a.external(a.network.ExternalMediaAddress, remote, v4); ext.IsValid() {
				return ext
			}
			if !bound.IsUnspecified() {
				return bound
			}
			if v4 == local.Is4() {
				return local
			}
		}
	}
	return local
}

// hasMedia says that media is bound to an address of a listener's family.
func (a addresses) hasMedia(listener netip.Addr) bool {
	for _, bound := range a.media {
		if bound.Unmap().Is4() == listener.Unmap().Is4() {
			return true
		}
	}
	return false
}
