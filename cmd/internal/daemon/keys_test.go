package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	icholy "github.com/icholy/digest"

	"wakebridge/config"
	"wakebridge/sipua"
)

// Each test here turns a key of the configuration and looks from outside at what
// it does.

func TestDeadlinesOfACall(t *testing.T) {
	t.Parallel()
	tests := []struct {
		key      string
		change   func(*config.Config)
		answered bool
	}{
		{"calls.max_duration", func(c *config.Config) { c.Calls.MaxDuration = time.Second }, true},
		{"media.timeout", func(c *config.Config) {
			c.Media.Timeout = config.MediaTimeout{FirstPacket: 500 * time.Millisecond, Silence: 500 * time.Millisecond, Hold: time.Hour}
		}, true},
		{"calls.ring_timeout", func(c *config.Config) { c.Calls.RingTimeout, c.Push.WakeTimeout = time.Second, 500*time.Millisecond }, false},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			t.Parallel()
			_, p := hairpin(t, tt.change)
			begin := time.Now()
			if tt.answered {
				p.answered()
				p.reply(p.read("BYE "), "200 OK", "")
				p.reply(p.read("BYE "), "200 OK", "")
			} else {
				p.request("INVITE", "sip:500@127.0.0.1", sdpAt(trunkHost))
				leg := p.read("INVITE ")
				p.reply(leg, "180 Ringing", "")
				p.reply(p.read("CANCEL "), "200 OK", "")
				p.reply(leg, "487 Request Terminated", "")
				p.read("SIP/2.0 480", "SIP/2.0 408")
			}
			if took := time.Since(begin); took < 900*time.Millisecond || took > 8*time.Second {
				t.Errorf("the call ended after %s", took)
			}
		})
	}
}

func TestWhatATrunkGets(t *testing.T) {
	external := func(c *config.Config) {
		c.Network.LocalNet = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		c.Network.ExternalSignalingAddress.V4 = netip.MustParseAddr("198.51.100.7")
		c.Network.ExternalMediaAddress.V4 = netip.MustParseAddr("198.51.100.8")
	}
	tests := []struct {
		key    string
		change func(*config.Config)
		has    []string // of the INVITE to the trunk
		hasNot []string
	}{
		{"defaults", nil, []string{"INVITE sip:500@127.0.0.2", "Via: SIP/2.0/UDP 127.0.0.1:", "Contact: <sip:100@127.0.0.1:", "c=IN IP4 127.0.0.1", "RTP/AVP 0 8",
			"From: \"Anna\" <sip:100@pbx.example>", "Max-Forwards: 69", "User-Agent: Wakebridge/test"}, []string{"X-Call-UUID"}},
		{"routes[].number", func(c *config.Config) { c.Routes[1].Match, c.Routes[1].Number = "^5(.*)", "*99#$1" },
			[]string{"INVITE sip:*99%2300@127.0.0.2", "To: <sip:*99%2300@127.0.0.2"}, nil},
		{"network.external_...", external, []string{"Via: SIP/2.0/UDP 198.51.100.7:", "Contact: <sip:100@198.51.100.7:", "c=IN IP4 198.51.100.8"}, []string{"127.0.0.1"}},
		{"network.local_net", func(c *config.Config) {
			external(c)
			c.Network.LocalNet = append(c.Network.LocalNet, netip.MustParsePrefix("127.0.0.0/8"))
		}, []string{"Via: SIP/2.0/UDP 127.0.0.1:", "c=IN IP4 127.0.0.1"}, []string{"198.51.100"}},
		{"media.bind", func(c *config.Config) { c.Media.Bind = addrs("127.0.0.7") }, []string{"c=IN IP4 127.0.0.7", "Via: SIP/2.0/UDP 127.0.0.1:"}, nil},
		{"media.rtp_start, rtp_end", func(c *config.Config) { c.Media.RTPStart, c.Media.RTPEnd = 31700, 31703 }, []string{"m=audio 3170"}, nil},
		{"media.allow", func(c *config.Config) { c.Media.Allow = []string{"alaw"} }, []string{"RTP/AVP 8\r\n"}, nil},
		{"trunks[].trust_identity", func(c *config.Config) { c.Trunks[0].TrustIdentity = true }, []string{`"Real" <sip:+4989@carrier.example>`}, []string{"pbx.example"}},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			_, p := hairpin(t, tt.change)
			p.request("INVITE", "sip:500@127.0.0.1", sdpAt(trunkHost), `P-Asserted-Identity: "Real" <sip:+4989@carrier.example>`)
			invite := p.read("INVITE ")
			for _, text := range tt.has {
				if !strings.Contains(invite, text) {
					t.Errorf("no %q in\n%s", text, invite)
				}
			}
			for _, text := range tt.hasNot {
				if strings.Contains(invite, text) {
					t.Errorf("%q in\n%s", text, invite)
				}
			}
		})
	}
}

func TestWhatTheCallerGets(t *testing.T) {
	tests := []struct {
		key    string
		change func(*config.Config)
		called string
		want   string // beginning of the final or ringing response
		has    string
	}{
		{"trunks[].max_calls", func(c *config.Config) { c.Trunks[0].MaxCalls = 1 }, "500", "SIP/2.0 503", ""},
		{"routes[].status", func(c *config.Config) {
			c.Routes = append([]config.Route{{Name: "no", Match: "^5", To: "reject", Status: 604}}, c.Routes...)
		}, "500", "SIP/2.0 604", ""},
		{"nothing matches", nil, "777", "SIP/2.0 404", ""},
		{"domains[].users[].numbers", nil, "201", "SIP/2.0 480", ""}, // alice has no device
		{"trunks[].progress_header", func(c *config.Config) { c.Trunks[0].ProgressHeader = true }, "500", "SIP/2.0 180", "X-Wake-Status: ringing"},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			_, p := hairpin(t, tt.change)
			p.request("INVITE", "sip:"+tt.called+"@127.0.0.1", sdpAt(trunkHost))
			if tt.want == "SIP/2.0 180" {
				p.reply(p.read("INVITE "), "180 Ringing", "")
			}
			if got := p.read("SIP/2.0 18", "SIP/2.0 3", "SIP/2.0 4", "SIP/2.0 5", "SIP/2.0 6"); !strings.HasPrefix(got, tt.want) || !strings.Contains(got, tt.has) {
				t.Errorf("%s", got)
			}
		})
	}
}

// trunks[].force_rport: a PBX that sends from one port and listens on another.
func TestForceRPort(t *testing.T) {
	for _, force := range []bool{true, false} {
		d, p := hairpin(t, func(c *config.Config) { c.Trunks[0].ForceRPort = force })
		listens := peerAt(t, trunkHost).of(d)
		p.via = listens.addr()
		p.request("OPTIONS", "sip:127.0.0.1", "")
		answers := listens
		if force {
			answers = p
		}
		answers.read("SIP/2.0 200")
		stranger, elsewhere := peerAt(t, "127.0.0.3").of(d), peerAt(t, "127.0.0.3")
		stranger.via = elsewhere.addr()
		stranger.request("OPTIONS", "sip:127.0.0.1", "")
		stranger.read("SIP/2.0 200") // phones are behind NATs, whatever the trunk wants
	}
}

func TestQualify(t *testing.T) {
	_, p := hairpin(t, func(c *config.Config) { c.Trunks[0].Qualify = 100 * time.Millisecond })
	for range 2 {
		p.reply(p.read("OPTIONS sip:"+p.addr()), "200 OK", "")
	}
}

// limits.connections, limits.*_per_source and limits.auth_failures are those of
// the gate and of sipua; here they are reached.
func TestLimitsAreReached(t *testing.T) {
	t.Run("connections.unauthenticated_per_source", func(t *testing.T) {
		d := start(t, func(c *config.Config) { c.Limits.Connections.UnauthenticatedPerSource = 2 })
		open := func() net.Conn {
			conn, err := net.Dial("tcp", d.Addr(sipua.TCP).String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		for range 2 {
			if err := pong(t, open()); err != nil {
				t.Errorf("refused: %v", err)
			}
		}
		if err := pong(t, open()); err == nil {
			t.Error("a third connection is served")
		}
	})
	t.Run("connections off", func(t *testing.T) {
		d := start(t, func(c *config.Config) { c.Limits.Connections = config.Connections{} })
		for range 70 { // sipua's own limit would be 64
			conn, err := net.Dial("tcp", d.Addr(sipua.TCP).String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := pong(t, conn); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("invite_per_source", func(t *testing.T) {
		d := start(t, func(c *config.Config) { c.Limits.InvitePerSource = config.Rate{Count: 1, Per: time.Hour} })
		p := peerAt(t, "127.0.0.9").of(d)
		p.request("INVITE", "sip:201@127.0.0.1", sdpAt("127.0.0.9"))
		if got := p.read("SIP/2.0 4"); !strings.HasPrefix(got, "SIP/2.0 403 No trunk matches 127.0.0.9") {
			t.Errorf("%s", got)
		}
		p.request("INVITE", "sip:201@127.0.0.1", sdpAt("127.0.0.9"))
		p.read("SIP/2.0 503")
	})
	t.Run("register_per_source", func(t *testing.T) {
		d := start(t, func(c *config.Config) { c.Limits.RegisterPerSource = config.Rate{Count: 1, Per: time.Hour} })
		p := peerAt(t, "127.0.0.9").of(d)
		p.request("OPTIONS", "sip:127.0.0.1", "")
		p.read("SIP/2.0 200")
		p.request("OPTIONS", "sip:127.0.0.1", "")
		p.read("SIP/2.0 503")
	})
	t.Run("auth_failures", func(t *testing.T) {
		d := start(t, func(c *config.Config) {
			c.Limits.AuthFailures = config.AuthFailures{Max: 2, Per: time.Minute, Ban: 700 * time.Millisecond}
		})
		p := peerAt(t, "127.0.0.9").of(d)
		password := d.cfg.Domains[0].Users[0].Password.Reveal()
		for range 2 {
			if got := p.register("alice", "wrong"); got != 401 {
				t.Errorf("wrong password: %d", got)
			}
		}
		if got := p.register("alice", password); got != 403 {
			t.Errorf("while banned: %d", got)
		}
		late := time.Now().Add(10 * time.Second)
		got := 0
		for got = p.register("alice", password); got != 200 && time.Now().Before(late); got = p.register("alice", password) {
			time.Sleep(50 * time.Millisecond)
		}
		if got != 200 {
			t.Errorf("after the ban: %d", got)
		}
		for range 3 { // the source has an authenticated flow now
			if got := p.register("bob", "wrong"); got != 401 {
				t.Errorf("bob with a wrong password: %d", got)
			}
		}
		if got := peerAt(t, "127.0.0.9").of(d).register("alice", password); got != 200 {
			t.Errorf("another port of that source: %d", got)
		}
		p.conn.Close() // the flow stays, with its binding
	})
}

// pong is nil if the server answers a keep-alive (RFC 5626 s3.5.1).
func pong(t *testing.T, c net.Conn) error {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("\r\n\r\n")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 2))
	return err
}

// register logs in by digest and returns the final status.
func (p *pbx) register(user, password string) int {
	p.t.Helper()
	uri := "sip:" + DevDomain
	send := func(authorization string) (string, int) {
		p.seq++
		lines := []string{"REGISTER " + uri + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bKr%d;rport", p.addr(), p.seq), "Max-Forwards: 70",
			"From: <sip:" + user + "@" + DevDomain + ">;tag=r", "To: <sip:" + user + "@" + DevDomain + ">", fmt.Sprintf("Call-ID: r-%s-%d", p.addr(), p.seq), "CSeq: 1 REGISTER",
			"Contact: <sip:" + user + "@" + p.addr() + ">", "Expires: 600"}
		if authorization != "" {
			lines = append(lines, "Authorization: "+authorization)
		}
		p.write(strings.Join(append(lines, "Content-Length: 0", "", ""), "\r\n"))
		res := p.read("SIP/2.0 ")
		status := 0
		if _, err := fmt.Sscanf(res, "SIP/2.0 %d ", &status); err != nil {
			p.t.Fatal(err)
		}
		return res, status
	}
	res, status := send("")
	if status != 401 {
		return status
	}
	c, err := icholy.ParseChallenge(headerOf(res, "WWW-Authenticate"))
	if err != nil {
		p.t.Fatal(err)
	}
	cred, err := icholy.Digest(c, icholy.Options{Method: "REGISTER", URI: uri, Username: user, Password: password, Count: 1})
	if err != nil {
		p.t.Fatal(err)
	}
	_, status = send(cred.String())
	return status
}
