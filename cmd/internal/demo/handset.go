package demo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// handset is one simulated iPhone on the stage.
type handset struct {
	name   string
	device *iphone.Device
	apns   *apnssim.Device
	lane   lane
	rings  string // what shows a call on this phone
}

// pushes adapts the simulated APNs to the iPhone.
type pushes struct{ *apnssim.Device }

// Next implements iphone.PushSource.
func (p pushes) Next(ctx context.Context) (iphone.Push, error) {
	select {
	case d := <-p.Deliveries():
		return iphone.Push{ID: d.APNsID, Token: d.Token, Type: d.PushType, Payload: d.Payload}, nil
	case <-ctx.Done():
		return iphone.Push{}, ctx.Err()
	}
}

// openPhones lets each phone register once, announce its tokens and fall asleep.
func (s *stage) openPhones(ctx context.Context, _ Options) error {
	for i := range max(s.scene.phones, 1) {
		h := s.newHandset(i)
		s.phones = append(s.phones, h)
		s.cleanup = append(s.cleanup, h.device.Close)
		if err := h.device.Open(); err != nil {
			return err
		}
		if _, err := h.device.Wait(ctx, 0, iphone.Registered); err != nil {
			return fmt.Errorf("%s did not register: %w", h.name, err)
		}
		if err := h.device.Sleep(); err != nil {
			return err
		}
	}
	return s.allAsleep(ctx)
}

// allAsleep waits until the server, too, knows that no phone is connected.
func (s *stage) allAsleep(ctx context.Context) error {
	aor := sipua.NewAOR(user, daemon.DevDomain)
	for {
		awake := 0
		for _, d := range s.server.Memory().Devices(aor) {
			if _, ok := d.Flow(); ok {
				awake++
			}
		}
		if awake == 0 {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the phones do not fall asleep: %w", ctx.Err())
		}
	}
}

func (s *stage) newHandset(i int) *handset {
	h := &handset{name: (laneIPhone + lane(i)).String(), lane: laneIPhone + lane(i)}
	h.apns = s.dev.APNs.NewDevice(h.name)
	cfg := iphone.Config{
		App:     iphone.App{TeamID: daemon.DevTeam, BundleID: daemon.DevBundle, Version: "1.0"},
		Account: iphone.Account{AOR: sipua.NewAOR(user, daemon.DevDomain), Password: password, Server: softphone.At(s.server.Addr(sipua.TCP))},
		Network: iphone.Network{Dial: dialFrom(phoneHost(i)), Media: media(phoneHost(i))},
		Pushes:  pushes{h.apns}, Audio: softphone.AudioConfig{Source: softphone.Tone(iphoneTone)}, Log: s.log,
		Observe: func(e iphone.Event) { s.phoneEvent(h, e) },
	}
	if s.scene.phone != nil {
		s.scene.phone(i, &cfg)
	}
	h.rings = "* CallKit rings"
	if cfg.OS > 0 && cfg.OS < 10 || cfg.NoCallKit {
		h.rings = "* the app rings"
	}
	h.device = iphone.New(cfg)
	return h
}

func dialFrom(host string) func(context.Context, sipua.Transport, sipua.Destination) (net.Conn, error) {
	return func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0))}
		return d.DialContext(ctx, "tcp", to.Addr.String())
	}
}

// phoneEvent puts what happens on a phone into the ladder, as far as no message
// shows it.
func (s *stage) phoneEvent(h *handset, e iphone.Event) {
	at := func(text string) { s.ladder.arrow(e.At, h.lane, h.lane, text) }
	switch e.Kind {
	case iphone.PushReceived:
		s.ladder.arrow(e.At, laneAPNs, h.lane, e.Text+" push")
	case iphone.Reported:
		at(h.rings)
	case iphone.UserAnswered:
		at("* user answers")
	case iphone.UserDeclined:
		at("* user declines")
	case iphone.Notified:
		at("* notification")
	case iphone.Tapped:
		at("* user taps it")
	case iphone.FateTold:
		at("* told the fate")
	case iphone.AudioStarted:
		at("* audio starts")
	case iphone.Ended:
		at("* ended: " + string(e.Reason))
	case iphone.Violated, iphone.Killed:
		at("! " + e.Text)
	}
}

// ended waits for the end of the phone's call and says why it ended.
func (h *handset) ended(ctx context.Context) (iphone.Reason, error) {
	e, err := h.device.Wait(ctx, 0, iphone.Ended)
	if err != nil {
		return "", fmt.Errorf("%s: the call does not end: %w", h.name, err)
	}
	return e.Reason, nil
}

// callID is the UUID of the call that the phone was shown.
func (h *handset) callID(ctx context.Context) (uuid.UUID, error) {
	e, err := h.device.Wait(ctx, 0, iphone.Reported)
	if err != nil {
		return uuid.Nil, fmt.Errorf("%s: no call is shown: %w", h.name, err)
	}
	return e.UUID, nil
}
