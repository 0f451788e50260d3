package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/bridge/media/audio"
	"wakebridge/bridge/sdes"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// secure gives the bridge a policy.
func secure(apps, trunks sdes.Policy) func(*options) {
	return func(o *options) { o.terms.SRTP = sdes.Terms{Apps: apps, Trunks: trunks} }
}

// phone is a softphone whose SDP and SRTP are pion's, at a host of its own.
type phone struct {
	*softphone.Phone
	w    *world
	flow *sipua.Flow
}

const tlsPort = 5090

// listenTLS lets the server take connections that count as TLS: what is below them
// is of no concern here.
func (w *world) listenTLS() {
	w.t.Helper()
	ln, err := w.net.Host(serverHost).Listen(netip.AddrPortFrom(serverHost, tlsPort))
	w.must(err)
	w.must(w.ep.ServeStream(ln, sipua.TLS))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// phone makes one that says a tone of hz.
func (w *world) phone(user string, at netip.Addr, hz float64, change func(*softphone.AudioConfig)) *phone {
	w.t.Helper()
	host := w.net.Host(at)
	pc, err := host.ListenPacket(netip.AddrPortFrom(at, sipPort))
	w.must(err)
	cfg := softphone.Config{
		AOR: sipua.NewAOR(user, domain), Log: slog.New(slog.DiscardHandler), Packets: []net.PacketConn{pc},
		Media: func() (net.PacketConn, error) { return host.ListenPacket(netip.AddrPortFrom(at, 0)) },
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return host.Dial(ctx, netip.AddrPort{}, to.Addr)
		},
		Audio: softphone.AudioConfig{Source: softphone.Tone(hz)},
	}
	if change != nil {
		change(&cfg.Audio)
	}
	p, err := softphone.New(cfg)
	w.must(err)
	w.t.Cleanup(p.Close)
	return &phone{Phone: p, w: w}
}

// connect opens a flow to the server.
func (p *phone) connect(t sipua.Transport) {
	p.w.t.Helper()
	port := uint16(sipPort)
	if t == sipua.TLS {
		port = tlsPort
	}
	var err error
	p.flow, err = p.Connect(p.w.t.Context(), t, softphone.At(netip.AddrPortFrom(serverHost, port)))
	p.w.must(err)
}

// register binds the phone to its user.
func (p *phone) register(t sipua.Transport) {
	p.w.t.Helper()
	p.connect(t)
	_, _, err := p.RegisterAndWait(p.w.t.Context(), softphone.Account{Transport: t, Server: softphone.At(p.flow.Remote()),
		Contact: func() (uri, params sip.HeaderParams) {
			return nil, sip.HeaderParams{{K: "+sip.instance", V: "x" + p.flow.Local().Addr().String()}}
		}})
	p.w.must(err)
}

func (p *phone) call(called string) *softphone.Call {
	p.w.t.Helper()
	c, err := p.Call(softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: called, Host: serverHost.String()}, Flow: p.flow})
	p.w.must(err)
	return c
}

func (p *phone) accept() *softphone.Call {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(p.w.t.Context(), 10*time.Second)
	defer cancel()
	c, err := p.Accept(ctx)
	p.w.must(err)
	return c
}

// talk lets two seconds pass and checks that each side hears the other's tone, loses
// no packet and refuses none.
func (w *world) talk(what string, a, b *softphone.Call) {
	w.t.Helper()
	before := []softphone.Audio{a.Audio(), b.Audio()}
	w.pass(2 * time.Second)
	for i, c := range []*softphone.Call{a, b} {
		was, is := before[i], c.Audio()
		hz := []float64{880, 440}[i]
		fresh := is.Samples[len(was.Samples):]
		if n := is.Received - was.Received; n < 95 || is.Lost != was.Lost || is.Refused != was.Refused {
			w.t.Errorf("%s: side %d received %d, lost %d, refused %d", what, i, n, is.Lost-was.Lost, is.Refused-was.Refused)
		} else if tone, level := audio.Tone(fresh, hz), audio.Level(fresh); tone < 0.9 || level < -16 || level > -10 {
			w.t.Errorf("%s: side %d hears a tone of %.2f at %.1f dBFS", what, i, tone, level)
		}
	}
}

// exercise talks through what may happen in a call: hold and resume by each side,
// and new keys.
func (w *world) exercise(a, b *softphone.Call) {
	w.t.Helper()
	ctx := w.t.Context()
	w.pass(time.Second)
	w.talk("after the answer", a, b)
	for i, c := range []*softphone.Call{a, b} {
		w.must(c.Hold(ctx))
		w.pass(time.Second)
		w.must(c.Resume(ctx))
		w.pass(100 * time.Millisecond)
		w.talk(fmt.Sprint("after the hold by side ", i), a, b)
	}
	for i, c := range []*softphone.Call{a, b} {
		w.must(c.Rekey(ctx))
		w.pass(100 * time.Millisecond) // what was under way went with the old key
		w.talk(fmt.Sprint("after new keys of side ", i), a, b)
	}
}

func crypto(r bridge.Record) []string {
	var out []string
	for _, m := range r.Media {
		out = append(out, m.Leg+" "+m.Crypto)
	}
	return out
}

// A PBX speaks RTP, the app SRTP, with each suite.
func TestRTPToSRTP(t *testing.T) {
	for _, suite := range softphone.Suites() {
		t.Run(suite, func(t *testing.T) {
			inWorld(t, secure(sdes.Optional, sdes.Off), func(w *world) {
				w.listenTLS()
				pbx := w.phone("100", pbxHost, 440, nil)
				app := w.phone("alice", phoneHost, 880, func(c *softphone.AudioConfig) { c.Suites = []string{suite} })
				pbx.connect(sipua.UDP)
				app.register(sipua.TLS)
				a := pbx.call("alice")
				b := app.accept()
				w.must(b.Answer())
				w.exercise(a, b)
				if got := []string{a.Audio().Suite, b.Audio().Suite}; !slices.Equal(got, []string{"", suite}) {
					t.Errorf("suites %q", got)
				}
				w.must(a.Hangup())
				app.Close()
				pbx.Close()
				if got := crypto(w.record()); !slices.Equal(got, []string{"A ", "B " + suite}) {
					t.Errorf("record: %q", got)
				}
			})
		})
	}
}

// Two apps with different suites: each leg has its own keys.
func TestSRTPToSRTP(t *testing.T) {
	const weak, strong = "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_256_GCM"
	inWorld(t, secure(sdes.Required, sdes.Off), func(w *world) {
		w.listenTLS()
		caller := w.phone("bob", bobHost, 440, func(c *softphone.AudioConfig) {
			c.Security, c.Suites = softphone.SRTPOnly, []string{weak, "AES_CM_128_HMAC_SHA1_80"}
		})
		app := w.phone("alice", phoneHost, 880, func(c *softphone.AudioConfig) { c.Security = softphone.SRTPOnly })
		caller.register(sipua.TLS)
		app.register(sipua.TLS)
		a := caller.call("alice")
		b := app.accept()
		w.must(b.Answer())
		w.exercise(a, b)
		// Of what the caller offers, we take the strongest.
		if got := []string{a.Audio().Suite, b.Audio().Suite}; !slices.Equal(got, []string{"AES_CM_128_HMAC_SHA1_80", strong}) {
			t.Errorf("suites %q", got)
		}
		w.must(b.Hangup())
		app.Close()
		caller.Close()
		if got := crypto(w.record()); !slices.Equal(got, []string{"A AES_CM_128_HMAC_SHA1_80", "B " + strong}) {
			t.Errorf("record: %q", got)
		}
	})
}

// An app that refuses SRTP gets plain RTP, within the same attempt.
func TestPlainAfter488(t *testing.T) {
	for _, status := range []int{488, 415, 606} {
		inWorld(t, secure(sdes.Optional, sdes.Off), func(w *world) {
			w.listenTLS()
			pbx := w.phone("100", pbxHost, 440, nil)
			app := w.phone("alice", phoneHost, 880, func(c *softphone.AudioConfig) { c.Security = softphone.SRTPNever })
			pbx.connect(sipua.UDP)
			app.register(sipua.TLS)
			a := pbx.call("alice")
			first := app.accept()
			if err := first.Answer(); !errors.Is(err, softphone.ErrMedia) {
				t.Fatalf("the app took SRTP: %v", err)
			}
			w.must(first.Reject(status, ""))
			b := app.accept()
			w.must(b.Answer())
			one, two := first.Invite(), b.Invite()
			if one.CallID().Value() != two.CallID().Value() || sipua.FromTag(one) != sipua.FromTag(two) || two.CSeq().SeqNo != one.CSeq().SeqNo+1 {
				t.Errorf("%d: second INVITE\n%s\nafter\n%s", status, two, one)
			}
			if !strings.Contains(string(one.Body()), "RTP/SAVP ") || !strings.Contains(string(two.Body()), "RTP/AVP ") || strings.Contains(string(two.Body()), "crypto") {
				t.Errorf("%d: offers\n%s\n%s", status, one.Body(), two.Body())
			}
			w.exercise(a, b)
			w.must(a.Hangup())
			app.Close()
			pbx.Close()
			r := w.record()
			if len(r.Attempts) != 1 || r.Result != bridge.Answered || !slices.Equal(crypto(r), []string{"A ", "B "}) {
				t.Errorf("%d: %+v", status, r)
			}
		})
	}
}

// M6: what the policy does not allow is refused in words, and never carried anyway.
func TestSRTPPolicy(t *testing.T) {
	type side struct {
		security softphone.Security
		over     sipua.Transport
	}
	tests := map[string]struct {
		apps           sdes.Policy
		any            bool
		caller, callee side
		status         int
		phrase         string
		invites        int // that the callee gets
		reason         string
	}{
		"plain, but required": {sdes.Required, false, side{softphone.SRTPNever, sipua.TLS}, side{softphone.SRTPOnly, sipua.TLS},
			488, "SRTP Required", 0, "media.srtp requires SRTP"},
		"keys over TCP": {sdes.Optional, false, side{softphone.SRTPOnly, sipua.TCP}, side{softphone.SRTPNever, sipua.TLS},
			488, "SRTP Keys Need TLS", 0, "keys_over"},
		"off": {sdes.Off, true, side{softphone.SRTPOnly, sipua.TLS}, side{softphone.SRTPNever, sipua.TLS},
			488, "SRTP Not Allowed", 0, "media.srtp is off"},
		"required of a callee over TCP": {sdes.Required, false, side{softphone.SRTPOnly, sipua.TLS}, side{softphone.SRTPAnswered, sipua.TCP},
			488, "SRTP Keys Need TLS", 0, "keys_over"},
		"required of a callee that refuses": {sdes.Required, false, side{softphone.SRTPOnly, sipua.TLS}, side{softphone.SRTPNever, sipua.TLS},
			488, "", 1, "refuses SRTP (488), and media.srtp requires it"},
		"optional over TCP is plain": {sdes.Optional, false, side{softphone.SRTPOnly, sipua.TLS}, side{softphone.SRTPNever, sipua.TCP}, 200, "", 1, ""},
		"keys over any":              {sdes.Required, true, side{softphone.SRTPOnly, sipua.TCP}, side{softphone.SRTPOnly, sipua.TCP}, 200, "", 1, ""},
		"off is plain":               {sdes.Off, false, side{softphone.SRTPAnswered, sipua.TLS}, side{softphone.SRTPNever, sipua.TLS}, 200, "", 1, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := func(o *options) { o.terms.SRTP = sdes.Terms{Apps: tt.apps, AnyTransport: tt.any} }
			inWorld(t, set, func(w *world) {
				w.listenTLS()
				caller := w.phone("bob", bobHost, 440, func(c *softphone.AudioConfig) { c.Security = tt.caller.security })
				callee := w.phone("alice", phoneHost, 880, func(c *softphone.AudioConfig) { c.Security = tt.callee.security })
				caller.register(tt.caller.over)
				callee.register(tt.callee.over)
				a := caller.call("alice")
				if tt.invites > 0 {
					b := callee.accept()
					if err := b.Answer(); err != nil {
						w.must(b.Reject(488, ""))
					}
				}
				e, err := a.Wait(w.t.Context(), softphone.Answered, softphone.Ended)
				w.must(err)
				if e.Status != tt.status || tt.phrase != "" && e.Phrase != tt.phrase {
					t.Errorf("the caller got %d %s", e.Status, e.Phrase)
				}
				if e.Kind == softphone.Answered {
					w.must(a.Hangup())
				}
				w.pass(time.Second)
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
				defer cancel()
				if c, err := callee.Accept(ctx); err == nil {
					t.Errorf("one more INVITE:\n%s", c.Invite())
				}
				caller.Close()
				callee.Close()
				r := w.record()
				if all := fmt.Sprint(r.Reason, r.Attempts, r.Steps); !strings.Contains(all, tt.reason) || r.Status != tt.status {
					t.Errorf("record: %d %s", r.Status, all)
				}
			})
		})
	}
}
