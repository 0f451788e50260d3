package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// ringback lets callers hear the European tone, as config.Load would.
func ringback(c *config.Config) { c.Media.Ringback, c.Media.RingbackSound = "eu", audio.Ringback("eu") }

// dozer is a softphone of a user that registered with push tokens and went to sleep.
type dozer struct {
	*softphone.Phone
	account softphone.Account
	device  *apnssim.Device
}

func doze(t *testing.T, s *server, user string, hz float64) *dozer {
	t.Helper()
	dial := func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(phoneHost + ":0"))}
		return d.DialContext(ctx, "tcp", to.Addr.String())
	}
	d := &dozer{device: s.apns.NewDevice("iphone")}
	d.Phone = phone(t, softphone.Config{AOR: sipua.NewAOR(user, daemon.DevDomain), Password: "secret", Dial: dial}, phoneHost, softphone.Tone(hz))
	voip := d.device.RegisterVoIP(daemon.DevBundle)
	d.account = account(s, voip, d.device.RegisterAlert(daemon.DevBundle))
	if err := d.device.UseEnvironment(apnssim.Production); err != nil {
		t.Fatal(err)
	}
	reg, registered, err := d.RegisterAndWait(t.Context(), d.account)
	if err != nil {
		t.Fatal(err)
	}
	reg.Close()
	d.Disconnect(registered.Flow)
	wait(t, 10*time.Second, "the phone to be asleep", func() (bool, string) { // or its INVITE goes to the old connection
		for _, known := range s.Memory().Devices(sipua.NewAOR(user, daemon.DevDomain)) {
			if _, awake := known.Flow(); awake && known.Push.VoIP.Value == voip {
				return false, "its flow is open"
			}
		}
		return true, ""
	})
	return d
}

// wake lets the phone come when its push has come, and takes its call.
func (d *dozer) wake(t *testing.T, after time.Duration) *softphone.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-d.device.Deliveries():
	case <-ctx.Done():
		t.Fatal("no push came")
	}
	<-time.After(after) // as an app takes its time
	if _, _, err := d.RegisterAndWait(ctx, d.account); err != nil {
		t.Fatal(err)
	}
	in, err := d.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// parts are what a recording holds before a tone of hz begins, and from then on; the
// 20 ms in which it begins are in neither.
func parts(sound []int16, hz float64) (before, after []int16) {
	const step = audio.SampleRate / 50
	for at := step; at+step < len(sound); at += step {
		if part := sound[at : at+step]; audio.Level(part) > -40 && audio.Tone(part, hz) > 0.9 {
			return sound[:at-step], sound[at:]
		}
	}
	return sound, nil
}

// Over real sockets: the tone keeps its time while the phone is woken, and when it
// answers its voice follows, whole.
func TestToneWhileWaking(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) { trunkAt(port)(c); ringback(c) })
	d := doze(t, s, "alice", 620)
	out := dial(t, s, p, "201")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	progress, err := out.Wait(ctx, softphone.Progress)
	if err != nil || progress.Status != 183 {
		t.Fatalf("the caller got %+v, %v", progress, err)
	}
	in := d.wake(t, 2*time.Second)
	ringing := out.Audio()
	if seconds := time.Since(ringing.FirstReceived).Seconds(); float64(ringing.Received) < 50*seconds-15 || float64(ringing.Received) > 50*seconds+2 || ringing.Lost > 0 {
		t.Errorf("%d packets in %.2f s, %d lost", ringing.Received, seconds, ringing.Lost)
	}
	if share, level := ringing.Tone(425), audio.Level(ringing.Samples[:audio.SampleRate]); share < 0.95 || level < -26 || level > -24 {
		t.Errorf("425 Hz is %.2f of what is heard, at %.1f dBFS", share, level)
	}
	if level := audio.Level(ringing.Samples[audio.SampleRate:]); level > -70 {
		t.Errorf("%.1f dBFS in the pause", level)
	}
	if err := in.Answer(); err != nil {
		t.Fatal(err)
	}
	wait(t, 10*time.Second, "both to hear the other", func() (bool, string) {
		got := out.Audio()
		_, voice := parts(got.Samples, 620)
		return len(voice) > audio.SampleRate && in.Audio().Tone(440) > 0.8, fmt.Sprintf("%d samples of voice, %.2f at the phone", len(voice), in.Audio().Tone(440))
	})
	got := out.Audio()
	if _, voice := parts(got.Samples, 620); audio.Tone(voice, 620) < 0.99 || audio.Tone(voice, 425) > 0.01 || got.Lost > 0 {
		t.Errorf("620 Hz is %.3f and 425 Hz is %.3f of the voice, %d lost", audio.Tone(voice, 620), audio.Tone(voice, 425), got.Lost)
	}
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	if r := s.record(t, 0); r.Media[0].Streams[0].Inserted < 80 {
		t.Errorf("media: %+v", r.Media)
	}
}

// A phone that we did not write calls one that sleeps: Linphone plays our tone as
// early media, and then the voice.
func TestLinphoneHearsTheTone(t *testing.T) {
	needPrograms(t, map[string]string{"linphonec": "linphone-cli", "espeak-ng": "espeak-ng", "sox": "sox"})
	for name, encryption := range map[string]string{"RTP": "none", "SRTP": "srtp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, cert, key := certificate(t)
			s := start(t, func(c *config.Config) {
				ringback(c)
				c.Listen = append(c.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
			})
			d := doze(t, s, "bob", 620)
			l := newLinphone(t, linphoneAccount{
				Server: fmt.Sprintf("localhost:%d;transport=tls", s.port(sipua.TLS)), Domain: daemon.DevDomain, RootCA: ca,
				Instance: "5f0f5b1c-0000-4000-8000-000000000002", Encryption: encryption, Mandatory: encryption == "srtp",
			}, speak(t, "en-us", "Is anybody there?"))
			l.wake(t)
			l.logged(t, "to [LinphoneRegistrationOk]")
			l.do(t, "call sip:bob@"+daemon.DevDomain)
			in := d.wake(t, 3*time.Second)
			l.logged(t, "to LinphoneCallOutgoingEarlyMedia")
			if err := in.Answer(); err != nil {
				t.Fatal(err)
			}
			l.logged(t, "to LinphoneCallStreamsRunning")
			<-time.After(3 * time.Second) // of voice
			if err := in.Hangup(); err != nil {
				t.Fatal(err)
			}
			l.logged(t, "to LinphoneCallReleased")
			before, voice := parts(l.heard(t), 620)
			if share := audio.Tone(before, 425); share < 0.9 || len(before) < 2*audio.SampleRate {
				t.Errorf("425 Hz is %.2f of %d samples before the voice", share, len(before))
			}
			if share := audio.Tone(voice, 620); share < 0.9 || len(voice) < 2*audio.SampleRate {
				t.Errorf("620 Hz is %.2f of %d samples of voice", share, len(voice))
			}
			r := s.record(t, 0)
			if r.Media[0].Crypto == "" && encryption == "srtp" || r.Media[0].Streams[0].Inserted < 100 {
				t.Errorf("media: %+v", r.Media)
			}
		})
	}
}
