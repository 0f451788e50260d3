package trunk_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/trunk"
)

// names are the DNS of these tests.
var hosts = map[string]string{"pbx.example.com": pbxHost.String(), "sbc.example.com": "192.0.2.7", "evil.example.com": "10.0.0.66", "inside.example.com": pbxHost.String(),
	"two.example.com": "192.0.2.7 192.0.2.8", "owt.example.com": "192.0.2.8 192.0.2.7"}

// dialogs makes a set with the trunk pbx, a flow that a dialog with it had over TCP, and
// everybody who may be asked for. lookups are the names that were looked up.
func dialogs(t *testing.T, change func(*trunk.Peer)) (tr *trunk.Trunk, had *sipua.Flow, ep *sipua.Endpoint, lookups *[]string) {
	t.Helper()
	n := memnet.New(memnet.Options{})
	t.Cleanup(func() { n.Close() })
	for _, host := range []string{pbxHost.String(), "10.0.0.6", "10.0.0.66", "192.0.2.7"} {
		endpoint(t, n, netip.MustParseAddr(host), &pbx{})
	}
	lookups = new([]string)
	peer := trunk.Peer{Name: "pbx", Match: prefixes("10.0.0.4/30"), Contact: sip.Uri{Scheme: "sip", Host: "sbc.example.com"}}
	if change != nil {
		change(&peer)
	}
	s := trunk.New(trunk.Config{Log: slog.New(slog.DiscardHandler),
		Peers: []trunk.Peer{peer, {Name: "other", Match: prefixes("10.0.0.6/32")}},
		Resolve: func(_ context.Context, uri sip.Uri) ([]trunk.Target, error) {
			host := uri.Host
			if name := hosts[host]; name != "" {
				*lookups = append(*lookups, host)
				host = name
			}
			transport := sipua.UDP
			if uri.Scheme == "sips" {
				transport = sipua.TLS
			}
			switch v, _ := uri.UriParams.Get("transport"); strings.ToLower(v) {
			case "tcp":
				transport = sipua.TCP
			case "tls":
				transport = sipua.TLS
			}
			var targets []trunk.Target
			for _, h := range strings.Fields(host) {
				addr, err := netip.ParseAddr(h)
				if err != nil {
					return nil, fmt.Errorf("no such host: %w", err)
				}
				targets = append(targets, trunk.Target{Transport: transport, Addr: netip.AddrPortFrom(addr, uint16(cmp.Or(uri.Port, 5060)))})
			}
			return targets, nil
		}})
	t.Cleanup(s.Close)
	ep = endpoint(t, n, ourHost, &pbx{})
	s.Start(ep)
	had, err := ep.Connect(t.Context(), sipua.TCP, sipua.Destination{Addr: netip.AddrPortFrom(pbxHost, 5060)})
	if err != nil {
		t.Fatal(err)
	}
	had.Shut(errors.New("idle"))
	return s.ByName("pbx"), had, ep, lookups
}

// Where the requests of a dialog go whose connection is gone. I9: a Contact or Record-Route
// makes us send nothing to a host that is not the trunk's, and look up no name for it.
func TestReach(t *testing.T) {
	const contact = "UDP 192.0.2.7:5060"
	for uri, want := range map[string]string{
		"sip:a@10.0.0.5:5060;transport=tcp":                   "TCP 10.0.0.5:5060",
		"sip:a@10.0.0.5":                                      "TCP 10.0.0.5:5060", // as before
		"sip:10.0.0.5;lr;transport=TCP":                       "TCP 10.0.0.5:5060",
		"sip:a@10.0.0.5;transport=udp":                        "UDP 10.0.0.5:5060",
		"sip:a@192.0.2.7;transport=tcp":                       "TCP 192.0.2.7:5060", // the contact's address
		"sip:a@SBC.example.com;transport=tcp":                 contact,              // this DNS minds case, so that the fallback shows
		"sip:a@sbc.example.com;transport=tcp":                 "TCP 192.0.2.7:5060",
		"sip:a@10.0.0.5:5099;transport=tcp":                   contact, // nobody listens
		"sip:a@10.0.0.66;transport=tcp":                       contact,
		"sip:a@10.0.0.66;transport=udp":                       contact,
		"sip:a@10.0.0.6;transport=tcp":                        contact, // another trunk's
		"sip:a@10.0.0.5;transport=tcp;maddr=10.0.0.66":        contact,
		"sip:a@10.0.0.5;transport=tcp;MADDR=evil.example.com": contact,
		"sip:a@evil.example.com;transport=tcp":                contact,
		"sip:a@inside.example.com;transport=tcp":              contact,
		"sip:a@127.0.0.1;transport=udp":                       contact,
		"sip:a@169.254.169.254:80;transport=tcp":              contact,
		"sip:a@0.0.0.0;transport=udp":                         contact,
		"sip:a@224.0.1.75;transport=udp":                      contact,
	} {
		t.Run(uri, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, had, _, lookups := dialogs(t, nil)
				var next sip.Uri
				if err := sip.ParseUri(uri, &next); err != nil {
					t.Fatal(err)
				}
				f, err := tr.Reach(t.Context(), next, had)
				if err != nil {
					t.Fatal(err)
				}
				if got := fmt.Sprint(f.Transport(), " ", f.Remote()); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				for _, name := range *lookups {
					if name != "sbc.example.com" {
						t.Errorf("%s was looked up", name)
					}
				}
			})
		})
	}
}

// However wide the trunk's addresses are, the machine's own and the link's are no part of
// them.
func TestReachStaysOutside(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "169.254.169.254", "0.0.0.0", "239.1.1.1"} {
		synctest.Test(t, func(t *testing.T) {
			tr, had, _, _ := dialogs(t, func(p *trunk.Peer) { p.Match = prefixes("0.0.0.0/1", "128.0.0.0/1") })
			f, err := tr.Reach(t.Context(), sip.Uri{Scheme: "sip", Host: host, UriParams: sip.HeaderParams{{K: "transport", V: "udp"}}}, had)
			if err != nil || f.Remote().Addr().String() != "192.0.2.7" {
				t.Errorf("%s: %v, %v", host, f, err)
			}
		})
	}
}

func TestReachNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, had, _, _ := dialogs(t, func(p *trunk.Peer) { p.Contact.Host = "gone.example.com" })
		if _, err := tr.Reach(t.Context(), sip.Uri{Scheme: "sip", Host: "10.0.0.66"}, had); !errors.Is(err, trunk.ErrNoRoute) {
			t.Errorf("%v", err)
		}
	})
}

// A dialog over UDP whose flow is open goes to its target, if that is the trunk, over UDP,
// and neither behind a NAT nor to the port that a NAT may hide.
func TestReachElsewhere(t *testing.T) {
	for _, tt := range []struct {
		next   string
		source string
		rport  bool
		want   string
	}{
		{"sip:a@10.0.0.5:5060", "10.0.0.5:32000", false, "10.0.0.5:5060"},
		{"sip:a@10.0.0.5", "10.0.0.5:32000", false, "10.0.0.5:5060"},
		{"sip:a@10.0.0.5:5060", "10.0.0.5:32000", true, ""},
		{"sip:a@10.0.0.7:5080", "10.0.0.5:5060", false, "10.0.0.7:5080"},
		{"sip:a@10.0.0.7:5080", "10.0.0.5:5060", true, "10.0.0.7:5080"}, // the gateway behind a dispatcher
		{"sip:10.0.0.7;lr", "10.0.0.5:5060", true, "10.0.0.7:5060"},
		{"sip:a@sbc.example.com", "10.0.0.5:5060", true, "192.0.2.7:5060"},
		{"sip:a@192.0.2.7:5070", "10.0.0.5:5060", true, "192.0.2.7:5070"},
		{"sip:a@10.0.0.5:5060", "192.0.2.7:5060", true, ""}, // as it calls itself behind a NAT
		{"sip:a@10.0.0.5:5060", "192.0.2.7:5060", false, "10.0.0.5:5060"},
		{"sip:a@10.0.0.5:5060;transport=tcp", "10.0.0.5:32000", false, ""}, // nothing is dialled while an ACK waits
		{"sips:a@10.0.0.5:5061", "10.0.0.5:32000", false, ""},
		{"sip:a@10.0.0.66", "10.0.0.5:5060", false, ""},
		{"sip:a@10.0.0.6", "10.0.0.5:5060", false, ""},
		{"sip:a@127.0.0.1", "10.0.0.5:5060", false, ""},
		{"sip:a@inside.example.com", "10.0.0.5:5060", false, ""},
		{"sip:a@[2001:db8::5]", "10.0.0.5:5060", false, ""},
	} {
		t.Run(tt.next, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, _, ep, _ := dialogs(t, func(p *trunk.Peer) {
					p.ForceRPort, p.Match = tt.rport, append(p.Match, prefixes("2001:db8::5/128")...)
				})
				source := netip.MustParseAddrPort(tt.source)
				now, err := ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: source})
				if err != nil {
					t.Fatal(err)
				}
				var next sip.Uri
				if err := sip.ParseUri(tt.next, &next); err != nil {
					t.Fatal(err)
				}
				f, err := tr.Reach(t.Context(), next, now)
				if err != nil {
					t.Fatal(err)
				}
				if want := cmp.Or(tt.want, tt.source); f.Transport() != sipua.UDP || f.Remote().String() != want || f.Local() != now.Local() {
					t.Errorf("%s %s from %s, want %s", f.Transport(), f.Remote(), f.Local(), want)
				}
			})
		})
	}
}

// A trunk with several addresses has a dialog at the one where it is.
func TestReachOneOfSeveral(t *testing.T) {
	for _, name := range []string{"two.example.com", "owt.example.com"} {
		for source, want := range map[string]map[bool]string{
			"192.0.2.7:5060":  {true: "192.0.2.7:5060", false: "192.0.2.7:5060"},
			"192.0.2.8:32000": {true: "192.0.2.8:32000", false: "192.0.2.8:5060"},
		} {
			for rport, want := range want {
				synctest.Test(t, func(t *testing.T) {
					tr, _, ep, _ := dialogs(t, func(p *trunk.Peer) { p.ForceRPort, p.Contact.Host = rport, name })
					now, err := ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.MustParseAddrPort(source)})
					if err != nil {
						t.Fatal(err)
					}
					f, err := tr.Reach(t.Context(), sip.Uri{Scheme: "sip", Host: name}, now)
					if err != nil || f.Remote().String() != want {
						t.Errorf("%s from %s, force_rport %v: %v, %v, want %s", name, source, rport, f, err, want)
					}
				})
			}
		}
	}
}
