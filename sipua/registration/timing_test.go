package registration

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

func TestRefreshAfter(t *testing.T) {
	for _, c := range []struct {
		expires, early   time.Duration
		earliest, latest time.Duration
	}{
		{time.Hour, 0, 2916 * time.Second, 3240 * time.Second},
		{time.Minute, 0, 46800 * time.Millisecond, 52 * time.Second},
		{10 * time.Second, 0, 4500 * time.Millisecond, 5 * time.Second},
		{time.Second, 0, time.Second, time.Second}, // no flood
		{10 * time.Minute, 130 * time.Second, 423 * time.Second, 470 * time.Second},
		{time.Minute, 130 * time.Second, 46800 * time.Millisecond, 52 * time.Second}, // cannot be kept
		{7 * 24 * time.Hour, 0, 489888 * time.Second, 544320 * time.Second},
	} {
		if got := refreshAfter(c.expires, c.early, 1); got != c.earliest {
			t.Errorf("%s, early %s: earliest %s, want %s", c.expires, c.early, got, c.earliest)
		}
		if got := refreshAfter(c.expires, c.early, 0); got != c.latest {
			t.Errorf("%s, early %s: latest %s, want %s", c.expires, c.early, got, c.latest)
		}
	}
}

func TestRefreshComesInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		expires := time.Duration(rapid.Int64Range(2, 1<<32-1).Draw(t, "expires")) * time.Second
		early := time.Duration(rapid.Int64Range(0, 1<<31-1).Draw(t, "early")) * time.Second
		got := refreshAfter(expires, early, rapid.Float64Range(0, 1).Draw(t, "dice"))
		if got < leastRefresh || got >= expires {
			t.Fatalf("refresh of %s after %s", expires, got)
		}
		if early < expires-2*time.Second && got > expires-early {
			t.Fatalf("refresh of %s after %s, wanted %s early", expires, got, early)
		}
	})
}

func TestBackOff(t *testing.T) {
	r := Retry{First: 30 * time.Second, Longest: 30 * time.Minute}
	for _, c := range []struct {
		failures int
		wish     time.Duration
		dice     float64
		want     time.Duration
	}{
		{1, 0, 0, 15 * time.Second},
		{1, 0, 1, 30 * time.Second},
		{2, 0, 1, time.Minute},
		{4, 0, 0.5, 3 * time.Minute},
		{7, 0, 1, 30 * time.Minute},
		{1000, 0, 1, 30 * time.Minute},
		{1, 5 * time.Minute, 1, 5 * time.Minute},
		{1, 48 * time.Hour, 1, time.Hour},
		{7, time.Second, 1, 30 * time.Minute},
	} {
		if got := backOff(r, c.failures, c.wish, c.dice); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func contact(t *testing.T, value string) sip.ContactHeader {
	t.Helper()
	var c sip.ContactHeader
	if _, err := sip.ParseAddressValue(value, &c.Address, &c.Params); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGranted(t *testing.T) {
	const instance = `;+sip.instance="<urn:uuid:00000000-0000-1000-8000-0000000000AA>"`
	for name, c := range map[string]struct {
		own      string
		contacts []string
		expires  string
		want     time.Duration
	}{
		"parameter":          {"<sip:a@10.0.0.1:5060>", []string{"<sip:b@10.0.0.9>;expires=9", "<sip:a@10.0.0.1:5060>;expires=120"}, "60", 2 * time.Minute},
		"header":             {"<sip:a@10.0.0.1:5060>", []string{"<sip:a@10.0.0.1:5060>"}, "60", time.Minute},
		"as asked":           {"<sip:a@10.0.0.1:5060>", []string{"<sip:a@10.0.0.1:5060>"}, "", time.Hour},
		"rewritten":          {"<sip:a@192.168.0.1:5060>", []string{"<sip:a@203.0.113.1:6060>;expires=33"}, "", 33 * time.Second},
		"none shown":         {"<sip:a@10.0.0.1>", nil, "", time.Hour},
		"by instance":        {"<sip:a@10.0.0.1>" + instance, []string{"<sip:a@10.0.0.2>;expires=5", "<sip:a@10.0.0.3>;expires=44;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-0000000000aa>\""}, "", 44 * time.Second},
		"other reg-id":       {"<sip:a@10.0.0.1>;reg-id=2" + instance, []string{"<sip:a@10.0.0.1>;expires=5;reg-id=1" + instance, "<sip:x@y>"}, "77", 77 * time.Second},
		"taken away":         {"<sip:a@10.0.0.1>", []string{"<sip:a@10.0.0.1>;expires=0"}, "60", 0},
		"with push in front": {"<sip:a@h;pn-prid=00>", []string{"<sip:a@h;pn-prid=00>;expires=700"}, "", 700 * time.Second},
	} {
		res := sip.NewResponse(200, "OK")
		for _, v := range c.contacts {
			h := contact(t, v)
			res.AppendHeader(&h)
		}
		if c.expires != "" {
			res.AppendHeader(sip.NewHeader("Expires", c.expires))
		}
		if got := granted(res, contact(t, c.own), time.Hour); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "18": 18 * time.Second, "120 (I am in a meeting)": 2 * time.Minute, "5;duration=60": 5 * time.Second, "soon": 0, "-1": 0,
	} {
		res := sip.NewResponse(503, "")
		if value != "" {
			res.AppendHeader(sip.NewHeader("Retry-After", value))
		}
		if got := retryAfter(res); got != want {
			t.Errorf("%q: %s", value, got)
		}
	}
}
