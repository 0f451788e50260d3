package sdes

import (
	"errors"
	"strings"
	"testing"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/srtp"
	"wakebridge/bridge/sdp"
)

func sdpOf(t *testing.T, m string) *sdp.Description {
	t.Helper()
	d, err := sdp.Parse([]byte("v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n" + m))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A key stays as long as it is in use, or never was; one that was and is no more
// never comes back, whatever the peer says then.
func TestKeysComeOnce(t *testing.T) {
	const (
		suite80 = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e\r\n"
		suite32 = "a=crypto:6 AES_CM_128_HMAC_SHA1_32 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e\r\n"
		audio   = "m=audio 4000 RTP/SAVP 0\r\n"
	)
	plain := sdpOf(t, "m=audio 4000 RTP/AVP 0\r\n")
	k := NewRing()
	offer := func() [6]srtp.Key {
		t.Helper()
		p, err := k.Offer(plain, func(int) bool { return false })
		lines := p.Keys
		if err != nil || len(lines) != 1 || len(lines[0]) != 6 {
			t.Fatalf("%v, %v", lines, err)
		}
		var keys [6]srtp.Key
		for i, l := range lines[0] {
			if l.Tag != i+1 || l.Suite != srtp.Suites()[i].String() {
				t.Errorf("line %d: %v", i, l)
			}
			if keys[i], err = srtp.ParseKey(srtp.Suites()[i], l.Secret, nil); err != nil {
				t.Fatal(err)
			}
		}
		return keys
	}
	answer := func(text string) ([]*media.Secure, error) { return k.Answered(sdpOf(t, text)) }
	take := func(text string) {
		t.Helper()
		keys, err := answer(text)
		if err != nil {
			t.Fatal(err)
		}
		k.Use(sdpOf(t, text), keys)
	}
	first := offer()
	take(audio + suite80)
	take(audio + suite80)
	if again := offer(); !again[4].Equal(first[4]) || !again[0].Equal(first[0]) {
		t.Error("a key changed though nothing did")
	}
	take(audio + suite32)
	// Of an old offer that is answered late, as by a second fork.
	if _, err := answer(audio + suite80); err == nil {
		t.Error("a key that went out of use is taken again")
	}
	second := offer()
	if second[4].Equal(first[4]) || !second[5].Equal(first[5]) {
		t.Error("a key that went out of use is offered again")
	}
	take("m=audio 0 RTP/SAVP 0\r\n") // the stream ends
	if third := offer(); third[5].Equal(second[5]) || !third[4].Equal(second[4]) {
		t.Error("a key of a stream that ended is offered again")
	}
	k.Use(sdpOf(t, "m=audio 4000 RTP/AVP 0\r\n"+suite80), nil)
	k.Use(sdpOf(t, "m=audio 0 RTP/AVP 0\r\n"), nil)
	if !k.IsOpportunistic(0) {
		t.Error("a hold by port 0 changes the profile of the next offer")
	}
	if k.Suite() != "" {
		t.Errorf("in use: %s", k.Suite())
	}
}

// Of several streams in an offer those stay that the policy takes.
func TestAdmit(t *testing.T) {
	const key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e\r\n"
	both := sdpOf(t, "m=audio 4000 RTP/SAVP 0\r\n"+key+"m=audio 4002 RTP/AVP 0\r\nm=image 4004 udptl t38\r\n")
	foreign := sdpOf(t, "m=audio 4000 RTP/SAVP 0\r\na=crypto:1 F8_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e\r\n")
	tests := []struct {
		name   string
		policy Terms
		offer  *sdp.Description
		active []bool // nil: refused
	}{
		{"optional", Terms{Apps: Optional, AnyTransport: true}, both, []bool{true, true, true}},
		{"required", Terms{Apps: Required, AnyTransport: true}, both, []bool{true, false, false}},
		{"only fax, required", Terms{Apps: Required, AnyTransport: true}, sdpOf(t, "m=image 4004 udptl t38\r\n"), nil},
		{"off", Terms{AnyTransport: true}, both, []bool{false, true, true}},
		{"no keys over this transport", Terms{Apps: Optional}, both, []bool{false, true, true}},
		{"neither is possible", Terms{Apps: Required}, both, nil},
		{"a suite that nobody knows", Terms{Apps: Optional, AnyTransport: true}, foreign, nil},
	}
	short := sdpOf(t, "m=audio 4000 RTP/SAVP 0\r\n"+strings.TrimSpace(key)+"|2^19\r\n")
	if _, err := (Terms{Apps: Optional, AnyTransport: true}).Admit(short, true, false); !errors.Is(err, ErrShort) || Phrase(err) != "SRTP Key Lifetime Too Short" {
		t.Errorf("a key for 2^19 packets: %v", err)
	}
	if _, err := NewRing().Answered(short); !errors.Is(err, ErrShort) {
		t.Errorf("an answer with it: %v", err)
	}
	for _, tt := range tests {
		got, err := tt.policy.Admit(tt.offer, true, false)
		if (err == nil) != (tt.active != nil) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for i, want := range tt.active {
			if is := got.Streams()[i].Active(); is != want {
				t.Errorf("%s: stream %d is %v", tt.name, i, is)
			}
		}
	}
}
