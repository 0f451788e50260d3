package softphone

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
)

// testMedia is the media of a call without a call.
func testMedia(t *testing.T, codecs ...audio.Codec) *media {
	t.Helper()
	p, err := New(Config{AOR: sipua.NewAOR("a", "b.example"), Log: slog.New(slog.DiscardHandler), Audio: AudioConfig{Codecs: codecs},
		Media: func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c := p.newCall(false)
	if err := c.openMedia(nil); err != nil {
		t.Fatal(err)
	}
	return c.media
}

func lines(s ...string) []byte { return []byte(strings.Join(s, "\r\n") + "\r\n") }

func session1(streams ...string) []byte {
	return lines(append([]string{"v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"}, streams...)...)
}

func parse(t *testing.T, body []byte) *sdp.SessionDescription {
	t.Helper()
	var d sdp.SessionDescription
	if err := d.Unmarshal(body); err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	return &d
}

func TestOfferIsWhatItSays(t *testing.T) {
	m := testMedia(t)
	body, err := m.offer(sendrecv)
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, body)
	md := d.MediaDescriptions[0]
	if len(d.MediaDescriptions) != 1 || strings.Join(md.MediaName.Formats, " ") != "0 8 101" || md.MediaName.Port.Value != int(m.local.Port()) ||
		telephoneEvent(md) != "101" || directionOf(d, md) != sendrecv || d.ConnectionInformation.Address.Address != "127.0.0.1" {
		t.Errorf("offer\n%s", body)
	}
}

func TestVersionRisesWithChangesOnly(t *testing.T) {
	m := testMedia(t)
	var versions, ids []uint64
	for _, dir := range []direction{sendrecv, sendrecv, sendonly, sendonly, sendrecv} {
		body, err := m.offer(dir)
		if err != nil {
			t.Fatal(err)
		}
		o := parse(t, body).Origin
		versions, ids = append(versions, o.SessionVersion), append(ids, o.SessionID)
	}
	for i, want := range []uint64{1, 1, 2, 2, 3} {
		if versions[i] != want || ids[i] != ids[0] {
			t.Errorf("versions %v of sessions %v", versions, ids)
		}
	}
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		codecs  []audio.Codec
		offer   []byte
		formats string // of the answer's audio; "": refused with ErrMedia
		dir     direction
		ports   []bool // open, by stream; nil: one open
		listens bool
	}{
		"first common codec, the offerer's first": {codecs: []audio.Codec{audio.PCMU, audio.PCMA}, formats: "8", dir: sendrecv, listens: true,
			offer: session1("m=audio 4000 RTP/AVP 9 8 0")},
		"own list decides what is common": {codecs: []audio.Codec{audio.PCMU}, formats: "0", dir: sendrecv, listens: true, offer: session1("m=audio 4000 RTP/AVP 9 8 0")},
		"telephone-event as offered": {formats: "0 96", dir: sendrecv, listens: true,
			offer: session1("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 Telephone-Event/8000")},
		"telephone-event at another rate": {formats: "0", dir: sendrecv, listens: true,
			offer: session1("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/48000")},
		"nothing in common":         {offer: session1("m=audio 4000 RTP/AVP 9 18")},
		"no audio":                  {offer: session1("m=video 4000 RTP/AVP 96", "a=rtpmap:96 VP8/90000")},
		"refused audio":             {offer: session1("m=audio 0 RTP/AVP 0")},
		"encrypted only":            {offer: session1("m=audio 4000 RTP/SAVP 0")},
		"no streams":                {offer: session1()},
		"garbage":                   {offer: []byte("v=0\r\ngarbage")},
		"host name":                 {offer: lines("v=0", "o=- 1 1 IN IP4 x", "s=-", "c=IN IP4 host.example", "t=0 0", "m=audio 4000 RTP/AVP 0")},
		"video besides is refused":  {formats: "0", dir: sendrecv, listens: true, ports: []bool{false, true}, offer: session1("m=video 4002 RTP/AVP 96", "a=rtpmap:96 VP8/90000", "m=audio 4000 RTP/AVP 0")},
		"encrypted and plain audio": {formats: "0", dir: sendrecv, listens: true, ports: []bool{false, true}, offer: session1("m=audio 4002 RTP/SAVP 0", "m=audio 4000 RTP/AVP 0")},
		"second audio is refused":   {formats: "0", dir: sendrecv, listens: true, ports: []bool{true, false}, offer: session1("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0")},
		"sendonly":                  {formats: "0", dir: recvonly, offer: session1("m=audio 4000 RTP/AVP 0", "a=sendonly")},
		"recvonly":                  {formats: "0", dir: sendonly, listens: true, offer: session1("m=audio 4000 RTP/AVP 0", "a=recvonly")},
		"inactive":                  {formats: "0", dir: inactive, offer: session1("m=audio 4000 RTP/AVP 0", "a=inactive")},
		"direction of the session":  {formats: "0", dir: recvonly, offer: session1("a=sendonly", "m=audio 4000 RTP/AVP 0")},
		"stream beats session":      {formats: "0", dir: sendrecv, listens: true, offer: session1("a=sendonly", "m=audio 4000 RTP/AVP 0", "a=sendrecv")},
		"hold of RFC 2543":          {formats: "0", dir: sendrecv, offer: session1("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0")},
		"IPv6":                      {formats: "0", dir: sendrecv, listens: true, offer: session1("m=audio 4000 RTP/AVP 0", "c=IN IP6 2001:db8::1")},
	} {
		t.Run(name, func(t *testing.T) {
			m := testMedia(t, c.codecs...)
			body, err := m.accept(c.offer)
			if c.formats == "" {
				if !errors.Is(err, ErrMedia) || sipua.Status(err) != 488 {
					t.Fatalf("answer\n%s\n%v", body, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			d := parse(t, body)
			ports := c.ports
			if ports == nil {
				ports = []bool{true}
			}
			if len(d.MediaDescriptions) != len(ports) {
				t.Fatalf("%d streams in answer to %d", len(d.MediaDescriptions), len(ports))
			}
			for i, open := range ports {
				md := d.MediaDescriptions[i]
				if (md.MediaName.Port.Value != 0) != open {
					t.Errorf("stream %d has port %d", i, md.MediaName.Port.Value)
				}
				if open && (strings.Join(md.MediaName.Formats, " ") != c.formats || directionOf(d, md) != c.dir) {
					t.Errorf("stream %d is %s %s", i, md.MediaName.String(), directionOf(d, md))
				}
			}
			if m.remote.listens() != c.listens {
				t.Errorf("listens %v: %+v", m.remote.listens(), m.remote)
			}
		})
	}
}

func TestAnswersToUs(t *testing.T) {
	for name, c := range map[string]struct {
		ours   direction
		answer []byte
		ok     bool
	}{
		"plain":             {sendrecv, session1("m=audio 4000 RTP/AVP 8"), true},
		"two codecs":        {sendrecv, session1("m=audio 4000 RTP/AVP 8 0"), true},
		"hold accepted":     {sendonly, session1("m=audio 4000 RTP/AVP 0", "a=recvonly"), true},
		"hold, inactive":    {sendonly, session1("m=audio 4000 RTP/AVP 0", "a=inactive"), true},
		"hold not seen":     {sendonly, session1("m=audio 4000 RTP/AVP 0"), false},
		"more than offered": {inactive, session1("m=audio 4000 RTP/AVP 0", "a=sendonly"), false},
		"refused":           {sendrecv, session1("m=audio 0 RTP/AVP 0"), false},
		"stream too many":   {sendrecv, session1("m=audio 4000 RTP/AVP 0", "m=audio 4002 RTP/AVP 0"), false},
		"stream missing":    {sendrecv, session1(), false},
		"other codec":       {sendrecv, session1("m=audio 4000 RTP/AVP 9"), false},
	} {
		m := testMedia(t)
		if _, err := m.offer(c.ours); err != nil {
			t.Fatal(err)
		}
		if err := m.settle(c.answer); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrMedia) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDirections(t *testing.T) {
	all := []direction{sendrecv, sendonly, recvonly, inactive}
	for _, a := range all {
		if a.opposite().sends() != a.receives() || a.opposite().receives() != a.sends() {
			t.Errorf("opposite of %s is %s", a, a.opposite())
		}
		for _, b := range all {
			c := a.both(b)
			if c.sends() != (a.sends() && b.sends()) || c.receives() != (a.receives() && b.receives()) {
				t.Errorf("%s and %s is %s", a, b, c)
			}
		}
	}
}

// An answer has a stream for each that was offered, whatever that is (RFC 3264 s6).
func FuzzAccept(f *testing.F) {
	f.Add(string(session1("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000", "a=sendonly")))
	f.Add(string(session1("m=video 4002 RTP/AVP 96", "m=audio 4000/2 RTP/AVP 8")))
	f.Fuzz(func(t *testing.T, offer string) {
		m := testMedia(t)
		body, err := m.accept([]byte(offer))
		if err != nil {
			if !errors.Is(err, ErrMedia) {
				t.Fatalf("%v", err)
			}
			return
		}
		theirs, ours := parse(t, []byte(offer)), parse(t, body)
		if len(ours.MediaDescriptions) != len(theirs.MediaDescriptions) {
			t.Fatalf("%d streams in answer to %d", len(ours.MediaDescriptions), len(theirs.MediaDescriptions))
		}
	})
}
