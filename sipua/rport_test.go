package sipua_test

import (
	"testing"
	"testing/synctest"

	"wakebridge/sipua"
)

// RFC 3261 s18.2.2 against RFC 3581: a PBX that sends from one port and listens on
// another gets its responses where its Via says, if the operator wants that.
func TestWayBackOfUDPResponses(t *testing.T) {
	only := func(yes bool) func(*sipua.Config) {
		return func(c *sipua.Config) { c.ForceRPort = func(*sipua.Flow) bool { return yes } }
	}
	never := func(*sipua.Config) {}
	tests := []struct {
		name   string
		change func(*sipua.Config)
		via    string
		toVia  bool
	}{
		{"by default the source", never, "SIP/2.0/UDP 10.0.0.5:5060", false},
		{"forced", only(true), "SIP/2.0/UDP 10.0.0.5:5060", false},
		{"not forced", only(false), "SIP/2.0/UDP 10.0.0.5:5060", true},
		{"not forced, a name and the default port", only(false), "SIP/2.0/UDP pbx.example.com", true},
		{"not forced, but asked for", only(false), "SIP/2.0/UDP 10.0.0.5:5060;rport", false},
		{"asked for in capitals", only(false), "SIP/2.0/UDP 10.0.0.5:5060;RPORT", false},
		{"from the very port", only(false), "SIP/2.0/UDP 10.0.0.5:32000", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.change)
				sends, listens := w.udp(trunkHost, 32000), w.udp(trunkHost, 5060)
				there, elsewhere := sends, listens
				if tt.toVia {
					there, elsewhere = listens, sends
				}
				invite := draft{method: "INVITE", callID: "w", branch: "z9hG4bKw", via: tt.via + ";branch=z9hG4bKw"}
				sends.send(invite.String())
				want(t, there, 100)
				sends.send(invite.String()) // the repeated one finds its way as well
				want(t, there, 100)
				cancel := invite
				cancel.method = "CANCEL"
				sends.send(cancel.String())
				want(t, there, 200)
				tx := w.invite(0)
				tx.Reject(sipua.Reject(487, ""))
				want(t, there, 487)
				refused := draft{method: "BYE", callID: "x", toTag: "nobody", via: tt.via + ";branch=z9hG4bKx"}
				sends.send(refused.String())
				want(t, there, 481)
				want(t, elsewhere)
			})
		})
	}
}

// Streams have no ports to choose between.
func TestForceRPortDoesNotConcernStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *sipua.Config) { c.ForceRPort = func(*sipua.Flow) bool { return false } })
		p := w.tcp(trunkHost)
		p.send(draft{method: "BYE", toTag: "nobody", via: "SIP/2.0/TCP 10.0.0.5:5060;branch=z9hG4bKt"}.String())
		want(t, p, 481)
	})
}
