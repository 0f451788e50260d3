package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/media"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// linphoneTalk is a call from a softphone that plays the PBX to a Linphone that is
// awake.
type linphoneTalk struct {
	server *server
	phone  *linphone
	call   *softphone.Call
	mouth  mouth // the PBX's
	anna   speaker
	runs   int // of the phone's streams, as far as they were waited for
	takes  int // recordings of the phone so far
}

// linphoneKind is one way in which a Linphone is connected.
type linphoneKind struct {
	transport  sipua.Transport
	encryption string               // its setting, "" for none
	gate       func(*server) int    // port of localhost by which it reaches the server; nil: the server's own
	adjust     func(*config.Config) // of the server
}

// talkToLinphone makes the call and lets the phone answer.
func talkToLinphone(t *testing.T, k linphoneKind) *linphoneTalk {
	t.Helper()
	needPrograms(t, map[string]string{"linphonec": "linphone-cli", "espeak-ng": "espeak-ng", "sox": "sox"})
	talk := &linphoneTalk{}
	p, port := pbxSaying(t, &talk.mouth)
	ca, cert, key := certificate(t)
	talk.server = start(t, func(c *config.Config) {
		trunkAt(port)(c)
		c.Listen = append(c.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
		if k.adjust != nil {
			k.adjust(c)
		}
	})
	gate := talk.server.port(k.transport)
	if k.gate != nil {
		gate = k.gate(talk.server)
	}
	talk.phone = newLinphone(t, linphoneAccount{
		Server: fmt.Sprintf("localhost:%d;transport=%s", gate, k.transport.Param()), Domain: daemon.DevDomain,
		Instance: "5f0f5b1c-0000-4000-8000-000000000001", RootCA: ca, Encryption: cmp.Or(k.encryption, "none"),
	}, speak(t, "en-gb+f3", "Good morning Anna. I can hear you loud and clear."))
	talk.phone.wake(t)
	talk.phone.logged(t, "to [LinphoneRegistrationOk]")
	talk.call = dial(t, talk.server, p, "201")
	talk.phone.logged(t, "to LinphoneCallIncomingReceived")
	talk.phone.do(t, "answer")
	talk.event(t, softphone.Answered, 1)
	talk.anna = speakerOf("the PBX", talk.call, &talk.mouth, readWAV(t, speak(t, "en-us", "Hello Alice, this is Anna. Can you understand me?")))
	return talk
}

// event waits for the nth event of a kind at the PBX.
func (k *linphoneTalk) event(t *testing.T, kind softphone.Kind, n int) {
	t.Helper()
	wait(t, 20*time.Second, fmt.Sprint(kind, " number ", n), func() (bool, string) {
		return len(kindsOf(k.call, kind)) >= n, fmt.Sprint(len(k.call.Events()), " events came")
	})
}

// converse lets both speak once the phone's streams run anew.
func (k *linphoneTalk) converse(t *testing.T, when string) {
	t.Helper()
	k.runs++
	wait(t, 20*time.Second, when+": linphonec to talk", func() (bool, string) {
		n := strings.Count(k.phone.logged(t, ""), "to LinphoneCallStreamsRunning")
		return n >= k.runs, fmt.Sprint("its streams ran ", n, " times")
	})
	k.conversation(t, when)
}

// conversation lets both speak; the phone makes a new recording of it.
func (k *linphoneTalk) conversation(t *testing.T, when string) {
	t.Helper()
	k.takes++
	file := k.phone.file(fmt.Sprintf("take%d.wav", k.takes))
	k.phone.do(t, "record "+file)
	wait(t, 10*time.Second, when+": linphonec to record", func() (bool, string) {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 8000, filepath.Base(file) + " is empty" // it is at it
	})
	converse(t, when, k.anna, speaker{
		who: "linphonec", words: readWAV(t, k.phone.speech), say: func() { k.phone.do(t, "play "+k.phone.speech) },
		heard: func() []int16 { return readGrowing(t, file) },
	})
}

// end hangs up and returns the record.
func (k *linphoneTalk) end(t *testing.T) bridge.Record {
	t.Helper()
	must(t, k.call.Hangup())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := k.call.Ended(ctx)
	must(t, err)
	return k.server.record(t, 0)
}

// checkPhoneLeg checks the protection and the counters of the phone's leg.
func checkPhoneLeg(t *testing.T, r bridge.Record, k linphoneKind, right func(media.StreamStats) bool) {
	t.Helper()
	if len(r.Media) != 2 || (r.Media[1].Crypto != "") != (k.encryption != "") || !right(r.Media[1].Streams[0].StreamStats) {
		text, err := json.Marshal(r.Media)
		t.Errorf("record: %s, %v", text, err)
	}
}

// readGrowing are the samples of a recording that is not at its end: the sizes in
// its head are of no use yet.
func readGrowing(t *testing.T, name string) []int16 {
	t.Helper()
	const head = 44
	b, err := os.ReadFile(name)
	must(t, err)
	if len(b) < head {
		return nil
	}
	b = b[head:]
	samples := make([]int16, len(b)/2)
	for i := range samples {
		samples[i] = int16(uint16(b[2*i]) | uint16(b[2*i+1])<<8) //nolint:gosec // two's complement
	}
	return samples
}

// Speech passes before and after each side held the call, with RTP and with SRTP.
func TestLinphoneHoldsAndIsHeld(t *testing.T) {
	for name, k := range map[string]linphoneKind{
		"RTP":  {transport: sipua.TCP},
		"SRTP": {transport: sipua.TLS, encryption: "srtp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			talk := talkToLinphone(t, k)
			talk.converse(t, "after the answer")
			talk.phone.do(t, "pause")
			talk.event(t, softphone.Held, 1)
			talk.phone.logged(t, "to LinphoneCallPaused") // before, it cannot resume
			talk.phone.do(t, "resume")
			talk.event(t, softphone.Resumed, 1)
			talk.converse(t, "after the phone held")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			must(t, talk.call.Hold(ctx))
			talk.phone.logged(t, "to LinphoneCallPausedByRemote")
			must(t, talk.call.Resume(ctx))
			talk.converse(t, "after the PBX held")
			checkPhoneLeg(t, talk.end(t), k, func(s media.StreamStats) bool { return s.Lost == 0 && s.Rejected[media.WrongSource] == 0 })
		})
	}
}

// The NAT in front of a phone gives its media another address in the middle of the
// call, as mobile networks do, and no signalling tells of it: with SRTP the next packet
// proves who sends it, and both hear each other again.
func TestLinphoneBehindANATThatRebinds(t *testing.T) {
	t.Parallel()
	const ports = 16
	first := freePorts(t, ports)
	r := newRouter(t, first, first+ports-1)
	k := linphoneKind{transport: sipua.TLS, encryption: "srtp", adjust: behindRouter(first, first+ports-1),
		gate: func(s *server) int { return r.gate(s, sipua.TLS) }}
	talk := talkToLinphone(t, k)
	talk.converse(t, "before")
	left := talk.call.Audio().Received
	r.rebind(otherUplink)
	began := time.Now()
	wait(t, 10*time.Second, "the phone to be heard again", func() (bool, string) {
		return talk.call.Audio().Received > left+10, "it is not"
	})
	t.Logf("heard again after %s", time.Since(began).Round(time.Millisecond))
	talk.conversation(t, "after")
	checkPhoneLeg(t, talk.end(t), k, func(s media.StreamStats) bool {
		return s.Source.Addr() == netip.MustParseAddr(otherUplink)
	})
	if n := strings.Count(talk.phone.logged(t, ""), "\nINVITE sip:"); n != 1 {
		t.Errorf("%d INVITEs: signalling told of the new address", n)
	}
}
