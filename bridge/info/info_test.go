package info_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/info"
	"wakebridge/bridge/media/dtmf"
)

func TestParse(t *testing.T) {
	const relay, digit = "application/dtmf-relay", "application/dtmf"
	ms := time.Millisecond
	cases := map[string]struct {
		contentType, body string
		key               string // "" for an error
		duration          time.Duration
		err               error
	}{
		"relay":                  {relay, "Signal=5\r\nDuration=160\r\n", "5", 160 * ms, nil},
		"no line end":            {relay, "Signal=5\r\nDuration=160", "5", 160 * ms, nil},
		"bare newlines":          {relay, "Signal=5\nDuration=160\n", "5", 160 * ms, nil},
		"blanks (Asterisk)":      {relay, "Signal= 5\r\nDuration= 160\r\n", "5", 160 * ms, nil},
		"other order":            {relay, "Duration=300\r\nSignal=#\r\n", "#", 300 * ms, nil},
		"names in any case":      {relay, "SIGNAL=*\r\nduration=300\r\n", "*", 300 * ms, nil},
		"no duration":            {relay, "Signal=d\r\n", "D", 250 * ms, nil},
		"too short":              {relay, "Signal=1\r\nDuration=0\r\n", "1", 40 * ms, nil},
		"too long":               {relay, "Signal=1\r\nDuration=60000\r\n", "1", 5 * time.Second, nil},
		"much too long":          {relay, "Signal=1\r\nDuration=99999999999999999999\r\n", "1", 5 * time.Second, nil},
		"star by number":         {relay, "Signal=10\r\nDuration=160\r\n", "*", 160 * ms, nil},
		"pound by number":        {digit, "11", "#", 250 * ms, nil},
		"flash by number":        {relay, "Signal=16\r\n", "!", 250 * ms, nil},
		"flash":                  {relay, "Signal=hf\r\n", "!", 250 * ms, nil},
		"unknown names":          {relay, "Signal=1\r\nVolume=3\r\n\r\n", "1", 250 * ms, nil},
		"digit":                  {digit, "7", "7", 250 * ms, nil},
		"digit with line end":    {digit, "7\r\n", "7", 250 * ms, nil},
		"type in capitals":       {"Application/DTMF", "7", "7", 250 * ms, nil},
		"type with parameters":   {"application/dtmf-relay; charset=utf-8", "Signal=7", "7", 250 * ms, nil},
		"no key":                 {relay, "Duration=160\r\n", "", 0, info.ErrBody},
		"two keys":               {relay, "Signal=1\r\nSignal=2\r\n", "", 0, info.ErrBody},
		"several digits":         {relay, "Signal=123\r\n", "", 0, info.ErrBody},
		"several digits, plain":  {digit, "123", "", 0, info.ErrBody},
		"not a key":              {digit, "E", "", 0, info.ErrBody},
		"17":                     {digit, "17", "", 0, info.ErrBody},
		"empty":                  {digit, "", "", 0, info.ErrBody},
		"empty relay":            {relay, "", "", 0, info.ErrBody},
		"negative duration":      {relay, "Signal=1\r\nDuration=-1\r\n", "", 0, info.ErrBody},
		"duration in words":      {relay, "Signal=1\r\nDuration=long\r\n", "", 0, info.ErrBody},
		"empty duration":         {relay, "Signal=1\r\nDuration=\r\n", "", 0, info.ErrBody},
		"large":                  {digit, strings.Repeat(" ", 300) + "1", "", 0, info.ErrBody},
		"another type":           {"application/media_control+xml", "1", "", 0, info.ErrType},
		"no type":                {"", "1", "", 0, info.ErrType},
		"a type that begins so":  {"application/dtmf-relay-2", "1", "", 0, info.ErrType},
		"a key that is not ours": {digit, "é", "", 0, info.ErrBody},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := info.Parse(c.contentType, []byte(c.body))
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if info.Is(c.contentType) == errors.Is(c.err, info.ErrType) {
				t.Errorf("Is: %t", info.Is(c.contentType))
			}
			if c.err == nil && (p.Event.Name() != c.key || p.Duration != c.duration) {
				t.Errorf("%q for %v", p.Event.Name(), p.Duration)
			}
		})
	}
}

// What is written is read again, the duration within its bounds.
func TestBody(t *testing.T) {
	for e := dtmf.Event(0); e.Valid(); e++ {
		for _, d := range []time.Duration{0, 40 * time.Millisecond, 160 * time.Millisecond, 12345 * time.Microsecond * 100, time.Hour} {
			want := dtmf.Press{Event: e, Duration: info.Bounded(d).Truncate(time.Millisecond)}
			if got, err := info.Parse(info.TypeRelay, info.Body(info.TypeRelay, dtmf.Press{Event: e, Duration: d})); err != nil || got != want {
				t.Errorf("event %d, %v: %v for %v, %v", uint8(e), d, uint8(got.Event), got.Duration, err)
			}
			if got, err := info.Parse(info.TypeDigit, info.Body("Application/DTMF", dtmf.Press{Event: e, Duration: d})); err != nil || got.Event != e {
				t.Errorf("event %d as a digit: %v, %v", uint8(e), uint8(got.Event), err)
			}
		}
	}
	if got := string(info.Body(info.TypeRelay, dtmf.Press{Event: 5, Duration: 160 * time.Millisecond})); got != "Signal=5\r\nDuration=160\r\n" {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("application/dtmf-relay", []byte("Signal=5\r\nDuration=160\r\n"))
	f.Add("application/dtmf", []byte("5"))
	f.Add("application/dtmf;x=y", []byte("16\n"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		p, err := info.Parse(contentType, body)
		if err != nil {
			if p != (dtmf.Press{}) && !errors.Is(err, info.ErrBody) {
				t.Errorf("%v with %v", p, err)
			}
			return
		}
		if !p.Event.Valid() || p.Duration < info.Shortest || p.Duration > info.Longest || !info.Is(contentType) {
			t.Errorf("event %d for %v", uint8(p.Event), p.Duration)
		}
		if again, err := info.Parse(info.TypeRelay, info.Body(info.TypeRelay, p)); err != nil || again != p {
			t.Errorf("not the same again: %v", err)
		}
	})
}
