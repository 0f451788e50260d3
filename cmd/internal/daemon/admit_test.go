package daemon

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/memnet"
)

// guarded is an endpoint behind a gate, in a network of its own. Its users have
// passwords in clear: a REGISTER with "X-Password: right" logs in, another one
// fails; without it there is a challenge.
type guarded struct {
	t    *testing.T
	net  *memnet.Network
	ep   *sipua.Endpoint
	gate *gate
	log  *bytes.Buffer
	seq  int
	// devices of users, as the location has them
	devices map[string][]location.Device
}

var guardedAt = netip.MustParseAddrPort("10.0.0.1:5060")

const trunkAt = "10.0.9.9"

func newGuarded(t *testing.T, limits config.Limits) *guarded {
	t.Helper()
	g := &guarded{t: t, net: memnet.New(memnet.Options{Seed: 1}), log: &bytes.Buffer{}}
	var err error
	g.gate, err = newGate(gateConfig{Limits: limits, Log: slog.New(slog.NewTextHandler(g.log, nil)),
		IsUser:  func(a sipua.AOR) bool { return a.User == "alice" || a.User == "bob" },
		IsTrunk: func(a netip.Addr) bool { return a.String() == trunkAt },
		Devices: func(a sipua.AOR) []location.Device { return g.devices[a.User] }})
	if err != nil {
		t.Fatal(err)
	}
	host := g.net.Host(guardedAt.Addr())
	g.ep = sipua.New(sipua.Config{Handler: g, Log: slog.New(slog.DiscardHandler), Admit: g.gate.admit,
		Party: func(_ sipua.Transport, remote netip.AddrPort) string {
			if remote.Addr().String() == trunkAt {
				return "trunk pbx"
			}
			return ""
		}})
	pc, err := host.ListenPacket(guardedAt)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := host.Listen(guardedAt)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.ep.ServeUDP(pc); err != nil {
		t.Fatal(err)
	}
	if err := g.ep.ServeStream(ln, sipua.TCP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.ep.Close()
		g.net.Close()
	})
	return g
}

// Invite implements sipua.Handler.
func (g *guarded) Invite(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(480, "")) }

// Request implements sipua.Handler.
func (g *guarded) Request(tx *sipua.ServerTx) {
	switch {
	case tx.Request.Method != sip.REGISTER:
		tx.Reject(sipua.Reject(481, ""))
	case sipua.Value(tx.Request, "X-Password") == "":
		tx.Reject(sipua.Reject(401, ""))
	case sipua.Value(tx.Request, "X-Password") != "right":
		g.gate.failed(tx.Request)
		tx.Reject(sipua.Reject(401, ""))
	default:
		tx.Flow().SetParty("user " + tx.Request.To().Address.User)
		g.gate.proved(tx.Flow())
		if err := tx.Respond(tx.NewResponse(200, "")); err != nil {
			g.t.Error(err)
		}
	}
}

// FlowGone implements sipua.Handler.
func (g *guarded) FlowGone(f *sipua.Flow, _ error) { g.gate.gone(f) }

// client sends requests over one flow.
type client struct {
	g    *guarded
	from netip.Addr
	conn net.Conn // of a stream, else nil
	pc   net.PacketConn
}

func (g *guarded) udp(from string) *client {
	g.t.Helper()
	a := netip.MustParseAddr(from)
	pc, err := g.net.Host(a).ListenPacket(netip.AddrPortFrom(a, 0))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { pc.Close() })
	return &client{g: g, from: a, pc: pc}
}

func (g *guarded) tcp(from string) *client {
	g.t.Helper()
	a := netip.MustParseAddr(from)
	conn, err := g.net.Host(a).Dial(context.Background(), netip.AddrPort{}, guardedAt)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return &client{g: g, from: a, conn: conn}
}

// send sends a request for user and returns the status of the answer.
func (c *client) send(method, user, password string) int {
	c.g.t.Helper()
	c.g.seq++
	transport := "UDP"
	if c.conn != nil {
		transport = "TCP"
	}
	text := fmt.Sprintf("%[1]s sip:a.example SIP/2.0\r\nVia: SIP/2.0/%[2]s h;branch=z9hG4bK%[3]d;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%[4]s@a.example>;tag=1\r\nTo: <sip:%[4]s@a.example>\r\nCall-ID: c%[3]d\r\nCSeq: 1 %[1]s\r\nContact: <sip:%[4]s@h>\r\n", method, transport, c.g.seq, user)
	if password != "" {
		text += "X-Password: " + password + "\r\n"
	}
	text += "Content-Length: 0\r\n\r\n"
	buf := make([]byte, 65536)
	read := func() (int, error) {
		if c.conn != nil {
			return c.conn.Read(buf)
		}
		n, _, err := c.pc.ReadFrom(buf)
		return n, err
	}
	var err error
	if c.conn != nil {
		_, err = c.conn.Write([]byte(text))
	} else {
		_, err = c.pc.WriteTo([]byte(text), net.UDPAddrFromAddrPort(guardedAt))
	}
	if err != nil {
		c.g.t.Fatal(err)
	}
	synctest.Wait()
	n, err := read()
	if err != nil {
		c.g.t.Fatal(err)
	}
	var status int
	if _, err := fmt.Sscanf(string(buf[:n]), "SIP/2.0 %d ", &status); err != nil {
		c.g.t.Fatalf("%q", buf[:n])
	}
	if method == "INVITE" && c.conn == nil { // stops the retransmission
		ack := strings.NewReplacer("INVITE sip", "ACK sip", "1 INVITE", "1 ACK").Replace(text)
		if _, err := c.pc.WriteTo([]byte(ack), net.UDPAddrFromAddrPort(guardedAt)); err != nil {
			c.g.t.Fatal(err)
		}
		synctest.Wait()
	}
	if status == 503 && !strings.Contains(string(buf[:n]), "Retry-After: 5") {
		c.g.t.Errorf("503 without Retry-After: %s", buf[:n])
	}
	return status
}

func (c *client) register(user, password string) int { return c.send("REGISTER", user, password) }

// bubble runs a test in virtual time.
func bubble(t *testing.T, limits config.Limits, test func(*testing.T, *guarded)) {
	synctest.Test(t, func(t *testing.T) { test(t, newGuarded(t, limits)) })
}

func perSecond(n int) config.Rate { return config.Rate{Count: n, Per: time.Second} }

func wantStatus(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d, want %d", what, got, want)
	}
}

func TestRates(t *testing.T) {
	limits := config.Limits{RegisterPerSource: perSecond(3), InvitePerSource: perSecond(2)}
	t.Run("REGISTER counts per source and user", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			a := g.udp("10.0.0.2")
			for range 3 {
				wantStatus(t, "within", a.register("alice", ""), 401)
			}
			wantStatus(t, "beyond", a.register("alice", ""), 503)
			wantStatus(t, "from another port", g.udp("10.0.0.2").register("alice", ""), 503)
			wantStatus(t, "over TCP", g.tcp("10.0.0.2").register("alice", ""), 503)
			wantStatus(t, "another user of that house", a.register("bob", ""), 401)
			wantStatus(t, "another house", g.udp("10.0.0.3").register("alice", ""), 401)
			time.Sleep(334 * time.Millisecond)
			wantStatus(t, "a third of a second later", a.register("alice", ""), 401)
			wantStatus(t, "and once more", a.register("alice", ""), 503)
		})
	})
	t.Run("made-up names share one bucket", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			a := g.udp("10.0.0.2")
			for i := range 3 {
				wantStatus(t, "within", a.register(fmt.Sprint("ghost", i), ""), 401)
			}
			wantStatus(t, "a fourth ghost", a.register("ghost4", ""), 503)
			wantStatus(t, "a user is no ghost", a.register("alice", ""), 401)
		})
	})
	t.Run("INVITE and the rest count apart", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			a := g.udp("10.0.0.2")
			for range 2 {
				wantStatus(t, "INVITE", a.send("INVITE", "alice", ""), 480)
			}
			wantStatus(t, "INVITE beyond", a.send("INVITE", "bob", ""), 503)
			for range 3 {
				wantStatus(t, "OPTIONS", a.send("OPTIONS", "alice", ""), 481)
			}
			wantStatus(t, "OPTIONS beyond", a.send("OPTIONS", "bob", ""), 503)
			wantStatus(t, "REGISTER", a.register("alice", ""), 401)
		})
	})
	t.Run("who has authenticated has them too", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			a := g.udp("10.0.0.2")
			for range 3 {
				wantStatus(t, "within", a.register("alice", "right"), 200)
			}
			wantStatus(t, "beyond", a.register("alice", "right"), 503)
		})
	})
	t.Run("trunks are no sources", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			a := g.udp(trunkAt)
			for range 20 {
				wantStatus(t, "INVITE", a.send("INVITE", "alice", ""), 480)
			}
		})
	})
	t.Run("off", func(t *testing.T) {
		bubble(t, config.Limits{}, func(t *testing.T, g *guarded) {
			a := g.udp("10.0.0.2")
			for range 100 {
				wantStatus(t, "INVITE", a.send("INVITE", "alice", ""), 480)
				wantStatus(t, "wrong password", a.register("alice", "wrong"), 401)
			}
		})
	})
}

func TestIPv6NetworkIsOneSource(t *testing.T) {
	for addr, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "::ffff:10.1.2.3": "10.1.2.3", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := sourceOf(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestBan(t *testing.T) {
	limits := config.Limits{AuthFailures: config.AuthFailures{Max: 3, Per: time.Minute, Ban: 15 * time.Minute}}
	t.Run("after the last failure, and its end", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			a := g.tcp("10.0.0.2")
			for range 3 {
				wantStatus(t, "wrong password", a.register("alice", "wrong"), 401)
			}
			begin := time.Now()
			wantStatus(t, "the right one comes too late", a.register("alice", "right"), 403)
			wantStatus(t, "a new connection", g.tcp("10.0.0.2").register("alice", "right"), 403)
			wantStatus(t, "a call", g.tcp("10.0.0.2").send("INVITE", "alice", ""), 403)
			wantStatus(t, "another house", g.tcp("10.0.0.3").register("alice", "right"), 200)
			time.Sleep(15*time.Minute - time.Since(begin) - time.Second)
			wantStatus(t, "a second before the end", g.tcp("10.0.0.2").register("alice", "right"), 403)
			time.Sleep(2 * time.Second)
			b := g.tcp("10.0.0.2")
			wantStatus(t, "after the end", b.register("alice", "wrong"), 401)
			wantStatus(t, "one more failure is no new ban", b.register("alice", "right"), 200)
			if n := strings.Count(g.log.String(), "source banned"); n != 1 || !strings.Contains(g.log.String(), "10.0.0.2") {
				t.Errorf("the operator is told %d times:\n%s", n, g.log)
			}
		})
	})
	t.Run("a ban shorter than the time that failures count over", func(t *testing.T) {
		short := limits
		short.AuthFailures.Ban = 10 * time.Second
		bubble(t, short, func(t *testing.T, g *guarded) {
			for range 3 {
				g.tcp("10.0.0.2").register("alice", "wrong")
			}
			time.Sleep(11 * time.Second)
			wantStatus(t, "after the ban", g.tcp("10.0.0.2").register("alice", "wrong"), 401)
			wantStatus(t, "one failure is no new ban", g.tcp("10.0.0.2").register("alice", "right"), 200)
		})
	})
	t.Run("failures long ago do not count", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			for range 6 {
				a := g.tcp("10.0.0.2")
				wantStatus(t, "wrong password", a.register("alice", "wrong"), 401)
				time.Sleep(31 * time.Second)
			}
			wantStatus(t, "still not banned", g.tcp("10.0.0.2").register("alice", "right"), 200)
		})
	})
	t.Run("not where a user is connected", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			phone, tablet := g.tcp("10.0.0.2"), g.tcp("10.0.0.2")
			wantStatus(t, "the phone", phone.register("alice", "right"), 200)
			for range 10 {
				wantStatus(t, "the tablet with a wrong password", tablet.register("bob", "wrong"), 401)
			}
			if n := strings.Count(g.log.String(), "source banned"); n != 1 || !strings.Contains(g.log.String(), "spared=true") {
				t.Errorf("the operator is told %d times:\n%s", n, g.log)
			}
			wantStatus(t, "a second phone behind the same NAT", g.tcp("10.0.0.2").register("alice", "right"), 200)
			wantStatus(t, "the phone itself", phone.register("alice", "right"), 200)
		})
	})
	t.Run("when the last user is gone, it holds", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			phone, tablet := g.tcp("10.0.0.2"), g.tcp("10.0.0.2")
			wantStatus(t, "the phone", phone.register("alice", "right"), 200)
			for range 3 {
				tablet.register("bob", "wrong")
			}
			phone.conn.Close()
			synctest.Wait()
			wantStatus(t, "the tablet", tablet.register("bob", "wrong"), 403)
			if n := len(g.gate.proven); n != 0 {
				t.Errorf("%d sources are remembered", n)
			}
		})
	})
	asleepAt := func(addr string) []location.Device {
		return []location.Device{{Bindings: []location.Binding{{Received: netip.MustParseAddrPort(addr)}}}}
	}
	t.Run("not a phone that sleeps there", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			g.devices = map[string][]location.Device{"alice": asleepAt("10.0.0.2:5999"), "bob": asleepAt("10.0.0.3:5999")}
			tablet := g.tcp("10.0.0.2")
			for range 10 {
				wantStatus(t, "the user's tablet with an old password", tablet.register("alice", "wrong"), 401)
			}
			wantStatus(t, "a user from elsewhere", g.tcp("10.0.0.2").register("bob", "right"), 403)
			wantStatus(t, "nobody", g.tcp("10.0.0.2").register("ghost", "right"), 403)
			wantStatus(t, "a call", g.tcp("10.0.0.2").send("INVITE", "alice", ""), 403)
			wantStatus(t, "the phone asks for a challenge", g.tcp("10.0.0.2").register("alice", ""), 401)
			wantStatus(t, "and has the password", g.tcp("10.0.0.2").register("alice", "right"), 200)
		})
	})
	t.Run("not a phone that was woken", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			woken := asleepAt("10.0.0.3:5999")
			g.devices = map[string][]location.Device{"alice": woken}
			for range 3 {
				g.tcp("10.0.0.2").register("bob", "wrong")
			}
			wantStatus(t, "before", g.tcp("10.0.0.2").register("alice", "right"), 403)
			woken[0].Health.LastAccepted = time.Now()
			wantStatus(t, "another user", g.tcp("10.0.0.2").register("bob", "right"), 403)
			time.Sleep(59 * time.Second)
			phone := g.tcp("10.0.0.2")
			wantStatus(t, "59 s after the push", phone.register("alice", "right"), 200)
			phone.conn.Close()
			synctest.Wait()
			time.Sleep(2 * time.Second)
			wantStatus(t, "61 s after the push", g.tcp("10.0.0.2").register("alice", "right"), 403)
		})
	})
	t.Run("whoever guesses the password of a phone that he wakes", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			woken := asleepAt("10.0.0.3:5999")
			g.devices = map[string][]location.Device{"alice": woken}
			guesses := 0
			for range 15 {
				woken[0].Health.LastAccepted = time.Now()
				for g.tcp("10.0.0.2").register("alice", "wrong") == 401 {
					guesses++
				}
				time.Sleep(time.Minute - time.Millisecond)
			}
			if guesses != 33 {
				t.Errorf("%d guesses in a quarter of an hour", guesses)
			}
			wantStatus(t, "the phone from where it was", g.tcp("10.0.0.3").register("alice", "right"), 200)
		})
	})
	t.Run("whoever guesses where a phone sleeps", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			g.devices = map[string][]location.Device{"alice": asleepAt("10.0.0.2:5999")}
			guesses := 0
			for range 500 {
				if g.tcp("10.0.0.2").register("alice", "wrong") == 401 {
					guesses++
				}
				time.Sleep(time.Second)
			}
			if guesses != 33 {
				t.Errorf("%d guesses in 500 s", guesses)
			}
		})
	})
	t.Run("whoever guesses another user's password behind a phone's name", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			g.devices = map[string][]location.Device{"alice": asleepAt("10.0.0.2:5999")}
			for range 3 {
				g.tcp("10.0.0.2").register("bob", "wrong")
			}
			for _, credentials := range []string{`Digest username="bob", realm="x"`, `Digest xusername="alice", username="bob"`, `Digest opaque="username=alice", username=bob`, `Basic username="alice"`} {
				wantStatus(t, credentials, g.tcp("10.0.0.2").send("REGISTER", "alice", "wrong\r\nAuthorization: "+credentials), 403)
			}
			wantStatus(t, "her own", g.tcp("10.0.0.2").send("REGISTER", "alice", "wrong\r\nAuthorization: Digest realm=\"x\", username=\"alice\""), 401)
		})
	})
	t.Run("forged packets ban no streams", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			forged := g.udp("10.0.0.2")
			for range 3 {
				forged.register("alice", "wrong")
			}
			wantStatus(t, "packets", forged.register("alice", "right"), 403)
			wantStatus(t, "a stream", g.tcp("10.0.0.2").register("alice", "right"), 200)
		})
	})
	t.Run("never a trunk", func(t *testing.T) {
		bubble(t, limits, func(t *testing.T, g *guarded) {
			pbx := g.udp(trunkAt)
			for range 10 {
				wantStatus(t, "wrong password", pbx.register("alice", "wrong"), 401)
			}
			wantStatus(t, "a call", pbx.send("INVITE", "alice", ""), 480)
			if g.log.Len() > 0 {
				t.Errorf("%s", g.log)
			}
		})
	})
}
