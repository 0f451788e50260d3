package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/softphone"
)

// Where everybody is. Loopback has room for all.
const (
	bridgeHost = "127.0.0.1"
	pbxHost    = "127.0.0.2"
)

// phoneHost is the address of the phone at index i.
func phoneHost(i int) string { return fmt.Sprintf("127.0.0.%d", 3+i) }

// The tones by which the two ends know each other.
const (
	pbxTone    = 440
	iphoneTone = 620
)

const (
	user     = "alice"
	number   = "201"
	password = "demo-password"
)

// stage is everything that a scene plays on.
type stage struct {
	scene  scene
	dev    *daemon.Development
	server *daemon.Daemon
	pbx    *softphone.Phone
	phones []*handset
	ladder *ladder
	report *Report
	log    *slog.Logger

	audience audience // nil: none

	mu      sync.Mutex
	records []bridge.Record
	ended   chan struct{}
	cleanup []func()
	wg      sync.WaitGroup
}

// build opens the stage of a scene: APNs, server, PBX, and phones that register
// once and fall asleep.
func build(ctx context.Context, sc scene, out io.Writer, opts Options) (*stage, error) {
	s := &stage{scene: sc, log: opts.Log, audience: opts.audience, ended: make(chan struct{}, 1),
		report: &Report{Scene: sc.name, About: sc.about, Shortened: sc.shortened}}
	s.ladder = newLadder(out, int(laneIPhone)+max(sc.phones, 1))
	for _, open := range []func(context.Context, Options) error{s.openServer, s.openPhones, s.watchPushes} {
		if err := open(ctx, opts); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

func (s *stage) openServer(ctx context.Context, opts Options) error {
	dev, err := daemon.NewDevelopmentWith(apnssim.Config{NetDelay: 80 * time.Millisecond})
	if err != nil {
		return err
	}
	s.dev = dev
	s.cleanup = append(s.cleanup, dev.Close)
	conn, err := net.ListenPacket("udp4", pbxHost+":0")
	if err != nil {
		return fmt.Errorf("the simulated PBX: %w", err)
	}
	s.pbx, err = softphone.New(softphone.Config{AOR: sipua.NewAOR("100", pbxHost), Display: "Anna Berg", Packets: []net.PacketConn{conn}, Log: s.log,
		Media: media(pbxHost), Audio: softphone.AudioConfig{Source: softphone.Tone(pbxTone)}})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.cleanup = append(s.cleanup, s.pbx.Close)
	cfg := dev.Config
	free := netip.MustParseAddrPort(bridgeHost + ":0")
	for i := range cfg.Listen {
		cfg.Listen[i].Bind = free
	}
	cfg.HTTP.Bind = free
	cfg.Media.RTPStart, cfg.Media.RTPEnd = 0, 0 // whatever the system has free
	cfg.Trunks[0].Contact = fmt.Sprintf("sip:%s", conn.LocalAddr())
	cfg.Domains[0].Users[0].Password = daemon.NewSecret(password)
	if s.scene.configure != nil {
		s.scene.configure(cfg)
	}
	s.server, err = daemon.New(ctx, cfg, daemon.Options{Log: s.log, Version: opts.Version, Tap: s.saw, Recorded: s.recorded})
	if err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s.server.Stop(ctx)
	})
	return nil
}

func media(host string) func() (net.PacketConn, error) {
	return func() (net.PacketConn, error) { return net.ListenPacket("udp4", host+":0") }
}

// close takes the stage down, last things first.
func (s *stage) close() error {
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		s.cleanup[i]()
	}
	s.wg.Wait()
	return s.ladder.close()
}

// saw puts a SIP message of the server into the ladder.
func (s *stage) saw(t sipua.Traffic) {
	if s.audience != nil {
		s.audience.Saw(t)
	}
	peer := laneOf(t.Flow)
	if strings.HasPrefix(t.Flow.Party(), "trunk ") {
		peer = lanePBX
	}
	text := label(t.Message)
	if text == "" {
		return
	}
	if peer == lanePBX && !t.Sent && strings.HasPrefix(text, "INVITE") {
		s.ladder.begin(t.At)
	}
	from, to := peer, laneBridge
	if t.Sent {
		from, to = laneBridge, peer
	}
	s.ladder.arrow(t.At, from, to, text)
}

// laneOf knows a phone by its address.
func laneOf(f *sipua.Flow) lane {
	for i := range int(laneIPhone2-laneIPhone) + 1 {
		if f.Remote().Addr().String() == phoneHost(i) {
			return laneIPhone + lane(i)
		}
	}
	return laneIPhone
}

// label is a message as the ladder shows it, "" for one that it does not show.
func label(msg sip.Message) string {
	switch m := msg.(type) {
	case *sip.Request:
		switch m.Method {
		case sip.OPTIONS:
			return ""
		case sip.INVITE:
			return "INVITE " + m.Recipient.User
		case sip.CANCEL, sip.BYE:
			if r, err := header.ParseReasons(sipua.Values(m, header.NameReason)...); err == nil && len(r) > 0 {
				return fmt.Sprintf("%s %d", m.Method, r[0].Cause)
			}
		}
		return string(m.Method)
	case *sip.Response:
		if m.CSeq() != nil && m.CSeq().MethodName == sip.OPTIONS {
			return ""
		}
		text := fmt.Sprintf("%d %s", m.StatusCode, m.Reason)
		if v := sipua.Value(m, header.NameWakeStatus); v != "" {
			text += " " + v
		}
		if sipua.Value(m, header.NameCallEnded) != "" {
			text += " X-Call-Ended"
		}
		return text
	}
	return ""
}

// watchPushes puts what happens at the simulated APNs into the ladder.
func (s *stage) watchPushes(context.Context, Options) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.cleanup = append(s.cleanup, cancel)
	s.wg.Add(1)
	go func() { // awaited by close
		defer s.wg.Done()
		var seq uint64
		for {
			entries, err := s.dev.APNs.WaitRequests(ctx, apnssim.Filter{After: seq}, 1)
			if err != nil {
				return
			}
			for _, e := range entries {
				seq = e.Seq
				s.ladder.arrow(e.ReceivedAt, laneBridge, laneAPNs, "POST "+e.Get("apns-push-type"))
				if e.Verdict.Status == 0 {
					continue
				}
				text := fmt.Sprint(e.Verdict.Status, " ", e.Verdict.Reason)
				if e.Verdict.Status == 200 {
					text = "200 accepted"
				}
				s.ladder.arrow(answeredAt(e), laneAPNs, laneBridge, text)
			}
		}
	}()
	return nil
}

// answeredAt is when a request was answered: a journal entry may be read before
// that is noted.
func answeredAt(e apnssim.Entry) time.Time {
	if e.AnsweredAt.IsZero() {
		return e.ReceivedAt.Add(time.Millisecond)
	}
	return e.AnsweredAt
}

func (s *stage) recorded(r bridge.Record) {
	if s.audience != nil {
		s.audience.Recorded(r)
	}
	s.mu.Lock()
	s.records = append(s.records, r)
	s.mu.Unlock()
	select {
	case s.ended <- struct{}{}:
	default:
	}
}

// record waits for the record of the nth call, counted from 0.
func (s *stage) record(ctx context.Context, n int) (bridge.Record, error) {
	for {
		s.mu.Lock()
		if len(s.records) > n {
			defer s.mu.Unlock()
			return s.records[n], nil
		}
		s.mu.Unlock()
		select {
		case <-s.ended:
		case <-ctx.Done():
			return bridge.Record{}, fmt.Errorf("no record of the call: %w", ctx.Err())
		}
	}
}

// call lets the PBX call the user.
func (s *stage) call(ctx context.Context) (*softphone.Call, error) {
	at := s.server.Addr(sipua.UDP)
	flow, err := s.pbx.Connect(ctx, sipua.UDP, softphone.At(at))
	if err != nil {
		return nil, err
	}
	c, err := s.pbx.Call(softphone.Outgoing{Flow: flow,
		Target: sip.Uri{Scheme: "sip", User: number, Host: bridgeHost, Port: int(at.Port())}})
	if err == nil && s.audience != nil {
		s.audience.Placed(c)
	}
	return c, err
}
