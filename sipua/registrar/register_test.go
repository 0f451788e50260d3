package registrar_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
)

func TestRegister(t *testing.T) {
	for _, proto := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		t.Run(proto.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o := newOffice(t)
				p := o.phone("alice", aliceHost, proto)
				p.must(200, p.contact("", instance(phone1)+";reg-id=1"), "User-Agent: Test/1", "Path: <sip:p1;lr>, <sip:p2;lr>")
				d := o.device()
				b, awake := d.Flow()
				if !awake || b.Node != "node-1" || b.CallID != p.callID || b.CSeq != p.seq || b.UserAgent != "Test/1" || b.RegID != 1 ||
					b.Transport != proto.Param() || b.Received.Addr() != aliceHost || d.Instance != phone1 || strings.Join(b.Path, " ") != "<sip:p1;lr> <sip:p2;lr>" {
					t.Errorf("%+v", d)
				}
				if left := time.Until(b.Expires); left > time.Hour || left < time.Hour-time.Second {
					t.Errorf("expires in %s", left)
				}
				f := o.ep.Flow(sipua.FlowID(b.Flow))
				if f == nil || !f.Authenticated() || f.Party() != "device "+phone1+" of sip:alice@example.com" {
					t.Errorf("flow %v", f)
				}
				stored, err := o.store.Load(t.Context())
				if err != nil || len(stored.Devices) != 1 {
					t.Errorf("stored %v, %v", stored.Devices, err)
				}
			})
		})
	}
}

func TestAuthentication(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		proved := 0
		o := newOffice(t, func(c *registrar.Config) {
			c.Proved = func(f *sipua.Flow) {
				proved++
				if !f.Authenticated() || f.Remote().Addr() != aliceHost {
					t.Errorf("proved: %v", f)
				}
			}
		})
		p := o.phone("alice", aliceHost, sipua.UDP)
		contact := p.contact("", "")

		first := p.once(contact).res
		if first.StatusCode != 401 || len(values(first, "WWW-Authenticate")) != 2 {
			t.Fatalf("%s", first)
		}
		if _, _, s, _ := o.ep.Sizes(); s != 0 {
			t.Errorf("a challenge keeps %d transactions", s)
		}
		p.must(200, contact)
		p.must(200, contact) // the nonce is used again
		if o.failed != 0 || proved != 2 {
			t.Errorf("%d failures, %d times proved", o.failed, proved)
		}

		// Another user's address: 403, whoever asks (third-party registration).
		p.must(403, contact, "To: sip:bob@example.com")
		if n := len(o.mem.Devices(sipua.NewAOR("bob", "example.com"))); n != 0 {
			t.Errorf("%d devices", n)
		}

		// A nonce that is too old: stale, and the password is not asked for.
		time.Sleep(6 * time.Minute)
		old := p.once(contact).res
		if old.StatusCode != 401 || !strings.Contains(values(old, "WWW-Authenticate")[0], "stale=true") {
			t.Fatalf("%s", old)
		}
		ch, _ := digest.ChallengesOf(old)
		if _, err := p.login.Attempt().Answer(ch, "REGISTER", "sip:example.com"); err != nil {
			t.Fatal(err)
		}
		p.must(200, contact)

		// A captured REGISTER (I3): the nonce count is used up.
		captured := p.request(contact)
		p.post(captured)
		if out := <-p.waiting; out.res.StatusCode != 200 {
			t.Fatal(out.res)
		}
		time.Sleep(40 * time.Second) // its transaction is over, its nonce is not
		evil := o.phone("alice", bobHost, sipua.UDP)
		again := sip.NewRequest(sip.REGISTER, captured.Recipient)
		for _, name := range []string{"From", "To", "Call-ID", "CSeq", "Contact", "Authorization"} {
			again.AppendHeader(sip.HeaderClone(captured.GetHeader(name)))
		}
		evil.post(again)
		if out := <-evil.waiting; out.res.StatusCode != 401 {
			t.Errorf("replayed: %s", out.res)
		}
		if d := o.device(); len(d.Bindings) != 1 || d.Bindings[0].Received.Addr() != aliceHost {
			t.Errorf("bindings %v", d.Bindings)
		}
		if o.failed != 0 {
			t.Errorf("%d failures", o.failed)
		}
	})
}

func TestFailedAuthentication(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		answers := map[string]*sip.Response{}
		for name, login := range map[string]digest.Login{
			"wrong password": {Username: "alice", Password: "wrong"},
			"unknown user":   {Username: "mallory", Password: "x"},
		} {
			p := o.phone("alice", aliceHost, sipua.UDP)
			p.user = login.Username
			p.login = digest.NewClient(login)
			answers[name] = p.must(401, p.contact("", ""))
		}
		// The same answer for both: nobody learns who exists (I4).
		a, b := answers["wrong password"], answers["unknown user"]
		if a.Reason != b.Reason || len(a.Headers()) != len(b.Headers()) || o.failed != 2 {
			t.Errorf("%d failures\n%s\n%s", o.failed, a, b)
		}
		p := o.phone("alice", aliceHost, sipua.UDP)
		p.must(400, p.contact("", ""), "Authorization: Digest username=\"alice")
		p.domain = "elsewhere.example"
		p.must(404, p.contact("", ""))
		if n := o.mem.Stats().Devices; n != 0 {
			t.Errorf("%d devices", n)
		}
		for _, secret := range []string{"secret of", "response="} {
			if strings.Contains(o.logged.String(), secret) {
				t.Errorf("log has %q:\n%s", secret, o.logged)
			}
		}
	})
}

// The 200 gives the requester its own Contact back byte for byte, with what was
// granted, and lists the others without their push parameters (RFC 8599 s4).
func TestContactsInTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		for _, tt := range []struct{ sent, want string }{
			{"<sip:alice@10.0.0.2>", "<sip:alice@10.0.0.2>;expires=3600"},
			{"<sip:alice@10.0.0.2:5062;transport=tcp;ob>;expires=120", "<sip:alice@10.0.0.2:5062;transport=tcp;ob>;expires=120"},
			{`<sip:alice@10.0.0.2;ob>;+sip.instance="<urn:uuid:00000000-0000-4000-8000-00000000ABCD>";reg-id=1;expires=300`,
				`<sip:alice@10.0.0.2;ob>;+sip.instance="<urn:uuid:00000000-0000-4000-8000-00000000ABCD>";reg-id=1;expires=300`},
			{`<sip:alice@10.0.0.2>;expires=300;+sip.instance="<urn:uuid:00000000-0000-4000-8000-00000000abcd>";q=0.5`,
				`<sip:alice@10.0.0.2>;+sip.instance="<urn:uuid:00000000-0000-4000-8000-00000000abcd>";q=0.5;expires=300`},
			{`"Alice; A. > B" <sip:al%69ce@10.0.0.2;x=%3B>;EXPIRES=300;audio`, `"Alice; A. > B" <sip:al%69ce@10.0.0.2;x=%3B>;audio;expires=300`},
			{`<sip:alice@10.0.0.2;expires=9>;methods="INVITE;x,OPTIONS"`, `<sip:alice@10.0.0.2;expires=9>;methods="INVITE;x,OPTIONS";expires=3600`},
			{"<sip:alice@10.0.0.2" + push(token1) + ">", "<sip:alice@10.0.0.2" + push(token1) + ">;expires=604800"},
			{"<sip:alice@10.0.0.2;pn-provider=apns;pn-prid=" + token1 + ":remote&" + token2 + ":voip;pn-param=ABCDE12345.com.example.phone.remote&voip>;+sip.pnsreg",
				"<sip:alice@10.0.0.2;pn-provider=apns;pn-prid=" + token1 + ":remote&" + token2 + ":voip;pn-param=ABCDE12345.com.example.phone.remote&voip>;+sip.pnsreg;expires=604800"},
			{"<sip:[2001:db8::2]:5060>", "<sip:[2001:db8::2]:5060>;expires=3600"},
		} {
			p.must(200, "Contact: *", "Expires: 0")
			res := p.must(200, "Contact: "+tt.sent)
			if got := values(res, "Contact"); len(got) != 1 || got[0] != tt.want {
				t.Errorf("sent %s\ngot  %q\nwant %s", tt.sent, got, tt.want)
			}
		}
	})
}

func TestOthersSeeNoPushParameters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		a := o.phone("alice", aliceHost, sipua.TCP)
		mine := a.contact(push(token1)+";app-id=x;ob", instance(phone1)+";expires=700")
		a.must(200, mine)
		time.Sleep(100 * time.Second)
		b := o.phone("alice", bobHost, sipua.TCP)
		for name, res := range map[string]*sip.Response{
			"another device": b.must(200, b.contact("", instance(phone2))),
			"a query":        a.must(200), // no Contact
		} {
			all := strings.Join(values(res, "Contact"), "\n")
			if strings.Contains(all, "pn-") || strings.Contains(all, token1) || !strings.Contains(all, "10.0.0.2") || !strings.Contains(all, ";ob>") || !strings.Contains(all, "expires=600") {
				t.Errorf("%s sees %s", name, all)
			}
		}
		if res := b.must(200); len(values(res, "Contact")) != 2 || len(values(res, "Feature-Caps")) != 0 {
			t.Errorf("query: %s", res)
		}
		if strings.Contains(o.logged.String(), token1) {
			t.Errorf("the log has a token:\n%s", o.logged)
		}
		if !strings.Contains(o.logged.String(), "…0001") {
			t.Errorf("the log does not say what was understood:\n%s", o.logged)
		}
	})
}

func TestExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		for _, tt := range []struct {
			name, uriParams, params string
			lines                   []string
			status                  int
			granted                 string // seconds, or Min-Expires of a 423
		}{
			{"nothing asked", "", "", nil, 200, "3600"},
			{"by header", "", "", []string{"Expires: 90"}, 200, "90"},
			{"by Contact", "", ";expires=90", []string{"Expires: 5"}, 200, "90"},
			{"no number: an hour (RFC 3261 s20.10)", "", ";expires=soon", nil, 200, "3600"},
			{"the least", "", ";expires=60", nil, 200, "60"},
			{"too short", "", ";expires=59", nil, 423, "60"},
			{"too long", "", ";expires=99999999", nil, 200, "2592000"},
			{"beyond 32 bits", "", ";expires=99999999999999999999", nil, 200, "2592000"},
			{"push, nothing asked", push(token1), "", nil, 200, "604800"},
			{"push, the least", push(token1), ";expires=600", nil, 200, "600"},
			{"push, too short", push(token1), ";expires=599", nil, 423, "600"},
			{"push, too long", push(token1), "", []string{"Expires: 99999999"}, 200, "2592000"},
			{"a capability query is no push", ";pn-provider=apns", ";expires=90", nil, 200, "90"},
		} {
			res := p.must(tt.status, append(tt.lines, p.contact(tt.uriParams, tt.params))...)
			got := strings.Join(values(res, "Min-Expires"), " ")
			if tt.status == 200 {
				c := values(res, "Contact")[0]
				got = c[strings.LastIndex(c, "=")+1:]
			}
			if got != tt.granted {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.granted)
			}
		}
		if d := o.device(); len(d.Bindings) != 1 {
			t.Errorf("%d bindings", len(d.Bindings))
		}
	})
}

func TestContactRules(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		own := p.contact("", instance(phone1))
		p.must(200, own)
		for name, tt := range map[string]struct {
			lines  []string
			status int
		}{
			"* without Expires":               {[]string{"Contact: *"}, 400},
			"* with Expires 1":                {[]string{"Contact: *", "Expires: 1"}, 400},
			"* with another":                  {[]string{"Contact: *", own, "Expires: 0"}, 400},
			"not SIP":                         {[]string{"Contact: <mailto:alice@example.com>"}, 400},
			"tel":                             {[]string{"Contact: <tel:+4930123>"}, 400},
			"bad instance":                    {[]string{p.contact("", `;+sip.instance="<>"`)}, 400},
			"bad reg-id":                      {[]string{p.contact("", instance(phone1)+";reg-id=0")}, 400},
			"token that is no hex":            {[]string{p.contact(push("../3/device/x"), "")}, 400},
			"token with CR LF":                {[]string{p.contact(push("aa%0D%0ATopic:x"), "")}, 400},
			"a long token":                    {[]string{p.contact(push(strings.Repeat("a", 202)), "")}, 400},
			"path that is none":               {[]string{own, "Path: nonsense"}, 400},
			"Feature-Caps":                    {[]string{own, "Feature-Caps: nonsense"}, 400},
			"another app":                     {[]string{p.contact(strings.Replace(push(token1), "com.example.phone", "com.example.other", 1), "")}, 555},
			"a service that we lack":          {[]string{p.contact(";pn-provider=webpush;pn-prid=https:%2F%2Fx", "")}, 555},
			"an unknown service":              {[]string{p.contact(";pn-provider=pigeon;pn-prid=x", "")}, 555},
			"query of one we lack":            {[]string{p.contact(";pn-provider=webpush", "")}, 555},
			"a log-out needs no working push": {[]string{p.contact(";pn-provider=pigeon;pn-prid=x;y=1", ";expires=0")}, 200},
		} {
			res := p.must(tt.status, tt.lines...)
			if t.Failed() {
				t.Fatal(name)
			}
			if tt.status == 555 {
				if caps := fmt.Sprint(values(res, "Feature-Caps")); caps != `[*;+sip.pns="apns" *;+sip.pns="fcm"]` {
					t.Errorf("%s: 555 with %s", name, caps)
				}
			}
			d := o.device()
			if len(d.Bindings) != 1 || d.Push.HasToken() {
				t.Errorf("%s changed the device: %+v", name, d)
			}
		}
		// Compact, in a list: every Contact counts, not only the last.
		p.must(200, "m: <sip:alice@10.0.8.1>, <sip:alice@10.0.8.2>", "Contact: <sip:alice@10.0.8.3>")
		if n := o.mem.Stats().Bindings; n != 4 {
			t.Errorf("%d bindings", n)
		}
		// A4: the contacts of an AOR are limited.
		for i := range 20 {
			p.must(200, fmt.Sprintf("Contact: <sip:alice@10.0.9.%d>", i))
		}
		total := 0
		for _, d := range o.mem.Devices(alice) {
			total += len(d.Bindings)
		}
		if total > 5 {
			t.Errorf("%d contacts", total)
		}
	})
}

// RFC 3261 s10.3 step 7.
func TestOvertakenRegister(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", instance(phone1)))
		p.seq = 100
		p.must(200, p.contact(";new", instance(phone1)+";reg-id=1"))
		p.seq = 50
		p.must(500, p.contact(";old", instance(phone1)+";reg-id=1"))
		p.seq = 100
		p.must(200, p.contact(";new", instance(phone1)+";reg-id=1")) // the same again changes nothing
		for _, b := range o.device().Bindings {
			if strings.Contains(b.Contact, ";old") {
				t.Errorf("%s", b)
			}
		}
		p.callID = "after a restart of the phone"
		p.seq = 0
		p.must(200, p.contact(";new", instance(phone1)+";reg-id=1"))

		// In one batch too: the loop is held while both are queued.
		hold := make(chan struct{})
		o.passwords.hold = hold
		p.post(p.request(p.contact("", instance(phone1)+";reg-id=1")))
		synctest.Wait()
		p.seq = 300
		p.post(p.request(p.contact(";newest", instance(phone1)+";reg-id=1")))
		p.seq = 200
		p.post(p.request(p.contact(";older", instance(phone1)+";reg-id=1")))
		synctest.Wait()
		close(hold)
		var got []int
		for range 3 {
			got = append(got, (<-p.waiting).res.StatusCode)
		}
		slices.Sort(got)
		if fmt.Sprint(got) != "[200 200 500]" {
			t.Errorf("%v", got)
		}
		if b := o.device().Bindings[0]; !strings.Contains(b.Contact, ";newest") {
			t.Errorf("%s", b)
		}
	})
}

func TestFeatureCaps(t *testing.T) {
	const pnsreg = ";+sip.pnsreg"
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		for _, tt := range []struct {
			name, uriParams, params string
			extra                   []string
			want                    string
			token                   bool
		}{
			{"plain SIP", "", "", nil, "[]", false},
			{"a token", push(token1), "", nil, `[*;+sip.pns="apns"]`, true},
			{"wants to know when to refresh", push(token1), pnsreg, nil, `[*;+sip.pns="apns";+sip.pnsreg="300"]`, true},
			{"too short a lease for that", push(token1), pnsreg + ";expires=600", nil, `[*;+sip.pns="apns"]`, true},
			{"query of all", ";pn-provider", "", nil, `[*;+sip.pns="apns" *;+sip.pns="fcm"]`, false},
			{"query of one", ";pn-provider=apns", "", nil, `[*;+sip.pns="apns"]`, false},
			{"query of one, in Apple's development spelling", ";pn-provider=apns.dev", "", nil, `[*;+sip.pns="apns"]`, false},
			{"somebody nearer pushes (s5.6.1.1)", push(token1), "", []string{`Feature-Caps: *;+sip.pns="apns"`}, "[]", false},
			{"somebody nearer does something else", push(token1), "", []string{`Feature-Caps: *;+g.other="x"`}, `[*;+sip.pns="apns"]`, true},
			{"older spelling", ";app-id=com.example.phone.voip.prod;pn-type=apple;pn-tok=" + token1, "", nil, `[*;+sip.pns="apns"]`, true},
			{"as header parameters", "", push(token1), nil, `[*;+sip.pns="apns"]`, true},
			{"two services, the same twice", push(token1), "", []string{p.contact(";other"+push(token1), "")}, `[*;+sip.pns="apns"]`, true},
		} {
			p.must(200, "Contact: *", "Expires: 0")
			time.Sleep(2 * time.Minute) // the log-out counts
			lines := append([]string{p.contact(tt.uriParams, tt.params+instance(phone1))}, tt.extra...)
			res := p.must(200, lines...)
			if got := fmt.Sprint(values(res, "Feature-Caps")); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
			if d := o.mem.Devices(alice)[0]; d.Push.HasToken() != tt.token {
				t.Errorf("%s: %+v", tt.name, d.Push)
			}
		}
	})
}

func TestDoubleTokenIsUnderstood(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact(";pn-provider=apns.dev;pn-prid="+token1+":remote&"+token2+":voip;pn-param=ABCDE12345.com.example.phone.remote&voip", instance(phone1)+";+x-wake-fate"))
		d := o.device()
		if d.Push.VoIP.Value != token2 || d.Push.Alert.Value != token1 || d.Push.Environment != location.Sandbox || d.Push.TeamID != "ABCDE12345" || !d.Push.FateHeader || !d.Wakeable {
			t.Errorf("%+v %s %s", d.Push, d.Push.VoIP.Value, d.Push.Alert.Value)
		}
	})
}

// A flow whose end was told before its REGISTER came to the loop must not come into
// a binding: nobody would take it out again.
func TestRegisterOfADeadFlow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", instance(phone1)))
		o.keep = make(chan *sipua.ServerTx, 1)
		p.post(p.request(p.contact("", instance(phone1))))
		tx := <-o.keep
		p.sleep()
		if out := <-p.waiting; !errors.Is(out.err, sipua.ErrFlowGone) {
			t.Errorf("%v", out)
		}
		o.reg.Request(tx)
		if b, awake := o.device().Flow(); awake {
			t.Errorf("awake: %s", b)
		}
	})
}

func TestFlowsOfBindings(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.UDP)
		p.must(200, p.contact("", instance(phone1)+";reg-id=1;expires=7200"))
		first := o.device().Bindings[0].Flow
		time.Sleep(time.Hour)
		if o.ep.Flow(sipua.FlowID(first)) == nil {
			t.Fatal("the flow of a binding went idle")
		}
		// The phone's address changes: the old flow is needed no more.
		q := o.phone("alice", bobHost, sipua.UDP)
		q.must(200, q.contact("", instance(phone1)+";reg-id=1;expires=7200"))
		b, _ := o.device().Flow()
		if b.Flow == first || len(o.device().Bindings) != 1 {
			t.Fatalf("%+v", o.device())
		}
		if x, y := o.ep.Flow(sipua.FlowID(first)), o.ep.Flow(sipua.FlowID(b.Flow)); !x.SameParty(y) {
			t.Error("the phone's flows are not one party")
		}
		time.Sleep(5 * time.Minute)
		if o.ep.Flow(sipua.FlowID(first)) != nil {
			t.Error("the old flow stayed")
		}
		if o.ep.Flow(sipua.FlowID(b.Flow)) == nil {
			t.Error("the new flow went")
		}
		time.Sleep(3 * time.Hour)
		if o.ep.Flow(sipua.FlowID(b.Flow)) != nil {
			t.Error("the flow outlived its binding")
		}
	})
}

// Two accounts of one phone share a connection; it may act for both.
func TestAccountsThatShareAFlow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", instance(phone1)))
		q := o.phone("bob", aliceHost, sipua.TCP)
		q.ep, q.flow = p.ep, p.flow
		q.must(200, q.contact("", instance(phone1)))
		shared := o.ep.Flow(sipua.FlowID(o.device().Bindings[0].Flow))
		fresh := o.phone("bob", bobHost, sipua.TCP)
		fresh.must(200, fresh.contact("", instance(phone1)))
		again, _ := o.mem.Devices(sipua.NewAOR("bob", "example.com"))[0].Flow()
		if f := o.ep.Flow(sipua.FlowID(again.Flow)); f == shared || !shared.SameParty(f) {
			t.Error("bob's new connection may not act for his account on the shared one")
		}
	})
}

func TestFlowGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact(push(token1), instance(phone1)))
		o.watch()
		p.sleep()
		if s := o.changed(); s != "flow-lost@0s" {
			t.Errorf("changes %q", s)
		}
		if _, awake := o.device().Flow(); awake {
			t.Error("awake")
		}
		o.wantWakeable(true)
	})
}

// A batch: many REGISTERs, few commits.
func TestManyRegistersFewCommits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", ""))
		before := o.store.Commits()
		release := o.store.Hang()
		const n = 600
		p.waiting = make(chan outcome, n)
		for i := range n {
			p.post(p.request(fmt.Sprintf("Contact: <sip:alice@10.0.0.2;n=%d>", i)))
			synctest.Wait() // each is applied by itself
		}
		if len(p.waiting) != 0 {
			t.Errorf("%d answers before the commit", len(p.waiting))
		}
		release()
		for range n {
			if out := <-p.waiting; out.res.StatusCode != 200 {
				t.Fatal(out.res)
			}
		}
		if c := o.store.Commits() - before; c > 4 {
			t.Errorf("%d commits", c)
		}
		if s := o.mem.Stats(); s.Uncommitted != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Overload: the queue has an end, and who meets it hears when to come again.
func TestOverload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", instance(phone1)))
		hold := make(chan struct{})
		o.passwords.hold = hold
		p.post(p.request(p.contact("", instance(phone1)))) // the loop is at this one
		synctest.Wait()
		const queued, over = 4096, 50
		q := o.phone("bob", bobHost, sipua.TCP) // without credentials: cheap
		q.waiting = make(chan outcome, queued+over)
		for i := range queued + over {
			q.post(q.request(q.contact("", "")))
			if i%50 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		refused := len(q.waiting)
		for range refused {
			if out := <-q.waiting; out.res.StatusCode != 503 || fmt.Sprint(values(out.res, "Retry-After")) != "[5]" {
				t.Fatalf("%s", out.res)
			}
		}
		if refused != over {
			t.Errorf("%d refused", refused)
		}
		close(hold)
		if out := <-p.waiting; out.res.StatusCode != 200 {
			t.Error(out.res)
		}
		for range queued {
			if out := <-q.waiting; out.res.StatusCode != 401 {
				t.Fatal(out.res)
			}
		}
	})
}

func TestCloseDrains(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact("", instance(phone1)))
		release := o.store.Hang()
		for i := range 10 {
			p.post(p.request(p.contact(fmt.Sprintf(";n=%d", i), instance(phone1)+";reg-id=1")))
		}
		synctest.Wait()
		closed := make(chan bool, 1)
		go func() {
			o.reg.Close()
			closed <- true
		}()
		synctest.Wait()
		if len(closed) != 0 || len(p.waiting) != 0 {
			t.Error("Close did not wait for the commit")
		}
		p.post(p.request(p.contact("", instance(phone1)))) // too late
		if out := <-p.waiting; out.res.StatusCode != 503 {
			t.Errorf("%s", out.res)
		}
		release()
		<-closed
		for range 10 {
			if out := <-p.waiting; out.res.StatusCode != 200 {
				t.Errorf("%s", out.res)
			}
		}
		o.reg.Close()
		if s := o.mem.Stats(); s.Uncommitted != 0 {
			t.Errorf("%+v", s)
		}
	})
}
