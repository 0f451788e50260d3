package daemon

import (
	"net/netip"
	"testing"

	"wakebridge/config"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

// outside has an external address of each family, and the default local_net.
func outside() config.Network {
	ext := config.Addresses{V4: addr("198.51.100.7"), V6: addr("2001:db8::7")}
	return config.Network{ExternalMediaAddress: ext, ExternalSignalingAddress: ext, LocalNet: config.Default().Network.LocalNet}
}

func TestExternalAddress(t *testing.T) {
	tests := []struct {
		name, remote string
		ext          config.Addresses
		want         string
	}{
		{"a peer outside", "203.0.113.9", outside().ExternalMediaAddress, "198.51.100.7"},
		{"outside, IPv6", "2001:db8:1::9", outside().ExternalMediaAddress, "2001:db8::7"},
		{"inside", "10.1.2.3", outside().ExternalMediaAddress, ""},
		{"inside, carrier's NAT", "100.64.0.1", outside().ExternalMediaAddress, ""},
		{"inside, IPv6", "fd00::1", outside().ExternalMediaAddress, ""},
		{"inside, IPv4 on an IPv6 socket", "::ffff:10.1.2.3", outside().ExternalMediaAddress, ""},
		{"outside, IPv4 on an IPv6 socket", "::ffff:203.0.113.9", outside().ExternalMediaAddress, "198.51.100.7"},
		{"none configured", "203.0.113.9", config.Addresses{}, ""},
		{"none of this family", "2001:db8:1::9", config.Addresses{V4: addr("198.51.100.7")}, ""},
	}
	for _, tt := range tests {
		a := addresses{network: outside()}
		if got := a.external(tt.ext, addr(tt.remote), addr(tt.remote).Unmap().Is4()); got != addr(tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestMediaAddress(t *testing.T) {
	none := config.Network{LocalNet: outside().LocalNet}
	tests := []struct {
		name          string
		network       config.Network
		bound         []netip.Addr
		local, remote string
		want          string
	}{
		{"bound to any: the flow's", none, addrs("0.0.0.0"), "10.0.0.1", "10.0.0.9", "10.0.0.1"},
		{"bound to one: that", none, addrs("10.0.0.2"), "10.0.0.1", "10.0.0.9", "10.0.0.2"},
		{"outside: the external one", outside(), addrs("0.0.0.0"), "10.0.0.1", "203.0.113.9", "198.51.100.7"},
		{"outside, bound to one: the external one", outside(), addrs("10.0.0.2"), "10.0.0.1", "203.0.113.9", "198.51.100.7"},
		{"inside: as bound", outside(), addrs("10.0.0.2"), "10.0.0.1", "10.0.0.9", "10.0.0.2"},
		{"both families: the flow's", outside(), addrs("0.0.0.0", "::"), "2001:db8::1", "2001:db8:1::9", "2001:db8::7"},
		{"both families, inside", outside(), addrs("10.0.0.2", "fd00::2"), "fd00::1", "fd00::9", "fd00::2"},
		{"both families, any", none, addrs("0.0.0.0", "::"), "fd00::1", "fd00::9", "fd00::1"},
		{"an IPv6 flow without IPv6 media: what is bound", none, addrs("10.0.0.2"), "fd00::1", "fd00::9", "10.0.0.2"},
		{"the same from outside: the external one", outside(), addrs("0.0.0.0"), "2001:db8::1", "2001:db8:1::9", "198.51.100.7"},
		{"an IPv4 flow without IPv4 media", outside(), addrs("::"), "10.0.0.1", "203.0.113.9", "2001:db8::7"},
		{"nothing to show: the flow's, which has no ports", none, addrs("0.0.0.0"), "fd00::1", "fd00::9", "fd00::1"},
		{"IPv4 written as IPv6", none, addrs("::ffff:10.0.0.2"), "10.0.0.1", "10.0.0.9", "10.0.0.2"},
	}
	for _, tt := range tests {
		a := addresses{network: tt.network, media: tt.bound}
		if got := a.mediaFor(addr(tt.local), addr(tt.remote)); got != addr(tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestHasMedia(t *testing.T) {
	a := addresses{media: addrs("0.0.0.0")}
	for listener, want := range map[string]bool{"10.0.0.1": true, "::ffff:10.0.0.1": true, "::": false, "fd00::1": false} {
		if a.hasMedia(addr(listener)) != want {
			t.Errorf("%s: %t", listener, !want)
		}
	}
}
