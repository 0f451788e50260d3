package header

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

const (
	tokVoIP  = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"
	tokAlert = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
)

// contactOf parses a Contact the way a REGISTER off the wire is parsed.
func contactOf(t testing.TB, value string) sip.ContactHeader {
	t.Helper()
	c, err := parseContact(value)
	if err != nil {
		t.Fatalf("Contact %q: %v", value, err)
	}
	return *c
}

func parseContact(value string) (*sip.ContactHeader, error) {
	hs, err := sip.HeadersParser(sip.DefaultHeadersParser()).ParseHeader(nil, []byte("Contact: "+value))
	if err != nil {
		return nil, err
	}
	c, ok := hs[0].(*sip.ContactHeader)
	if !ok {
		return nil, errors.New("no Contact")
	}
	return c, nil
}

func TestParsePush(t *testing.T) {
	tests := []struct {
		name    string
		contact string
		want    Push
	}{
		{"plain SIP", "<sip:alice@10.0.0.1:5060;transport=tls>", Push{}},
		{"RFC 8599 s10 with VoIP service",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokVoIP + ";pn-param=DEF123GHIJ.com.example.phone.voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "DEF123GHIJ", BundleID: "com.example.phone",
				VoIPToken: tokVoIP, Param: "DEF123GHIJ.com.example.phone.voip"}},
		{"RFC's short token",
			"<sip:a@h;pn-provider=apns;pn-prid=00fc13adff78512;pn-param=DEF123GHIJ.com.example.phone>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "DEF123GHIJ", BundleID: "com.example.phone",
				AlertToken: "00fc13adff78512", Param: "DEF123GHIJ.com.example.phone"}},
		{"Linphone, remote first",
			"<sip:a@h;pn-provider=apns.dev;pn-prid=" + tokAlert + ":remote&" + tokVoIP + ":voip;pn-param=ABCD1234.org.linphone.phone.remote&voip;pn-silent=1;pn-timeout=0>",
			Push{Present: true, Sent: "apns.dev", Provider: APNs, Environment: Sandbox, TeamID: "ABCD1234", BundleID: "org.linphone.phone",
				VoIPToken: tokVoIP, AlertToken: tokAlert, Param: "ABCD1234.org.linphone.phone.remote&voip"}},
		{"Linphone, VoIP first in prid, other order in param",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokVoIP + ":voip&" + tokAlert + ":remote;pn-param=ABCDE12345.org.linphone.phone.remote&voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "org.linphone.phone",
				VoIPToken: tokVoIP, AlertToken: tokAlert, Param: "ABCDE12345.org.linphone.phone.remote&voip"}},
		{"two tokens without suffixes take the services in order",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokVoIP + "&" + tokAlert + ";pn-param=ABCDE12345.com.x.y.voip&remote>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.x.y",
				VoIPToken: tokVoIP, AlertToken: tokAlert, Param: "ABCDE12345.com.x.y.voip&remote"}},
		{"one suffix, the other by what is left",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokAlert + "&" + tokVoIP + ":voip;pn-param=ABCDE12345.com.x.y.voip&remote>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.x.y",
				VoIPToken: tokVoIP, AlertToken: tokAlert, Param: "ABCDE12345.com.x.y.voip&remote"}},
		{"suffix decides against the param",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokAlert + ":remote;pn-param=ABCDE12345.com.x.y.voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.x.y",
				AlertToken: tokAlert, Param: "ABCDE12345.com.x.y.voip"}},
		{"escaped double token",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokAlert + "%3Aremote%26" + tokVoIP + "%3avoip;pn-param=ABCDE12345.com.x.y.remote%26voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.x.y",
				VoIPToken: tokVoIP, AlertToken: tokAlert, Param: "ABCDE12345.com.x.y.remote&voip"}},
		{"bundle.voip without team",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokVoIP + ";pn-param=com.example.phone.voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, BundleID: "com.example.phone", VoIPToken: tokVoIP, Param: "com.example.phone.voip"}},
		{"bare bundle is an alert token",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokAlert + ";pn-param=com.example.phone>",
			Push{Present: true, Sent: "apns", Provider: APNs, BundleID: "com.example.phone", AlertToken: tokAlert, Param: "com.example.phone"}},
		{"team glued to the bundle",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokVoIP + ";pn-param=ABCDE12345com.example.phone.voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.example.phone", VoIPToken: tokVoIP, Param: "ABCDE12345com.example.phone.voip"}},
		{"bundle that ends in .dev keeps it",
			"<sip:a@h;pn-provider=apns;pn-prid=" + tokVoIP + ";pn-param=ABCDE12345.com.example.dev.voip>",
			Push{Present: true, Sent: "apns", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.example.dev", VoIPToken: tokVoIP, Param: "ABCDE12345.com.example.dev.voip"}},
		{"names and token in capitals",
			"<sip:a@h;PN-Provider=APNS;PN-PRID=" + strings.ToUpper(tokVoIP) + ";Pn-Param=ABCDE12345.com.x.y.VoIP>",
			Push{Present: true, Sent: "APNS", Provider: APNs, TeamID: "ABCDE12345", BundleID: "com.x.y", VoIPToken: tokVoIP, Param: "ABCDE12345.com.x.y.VoIP"}},
		{"apns-sandbox as header parameters",
			"<sip:a@h>;pn-provider=apns-sandbox;pn-prid=" + tokVoIP + ";pn-param=com.x.y.voip",
			Push{Present: true, Sent: "apns-sandbox", Provider: APNs, Environment: Sandbox, BundleID: "com.x.y", VoIPToken: tokVoIP, Param: "com.x.y.voip"}},
		{"Contact without brackets, space before the name",
			"sip:a@h; pn-provider=apns; pn-prid=" + tokVoIP + "; pn-param=com.x.y.voip",
			Push{Present: true, Sent: "apns", Provider: APNs, BundleID: "com.x.y", VoIPToken: tokVoIP, Param: "com.x.y.voip"}},
		{"quoted header parameters",
			`<sip:a@h>;pn-provider="apns";pn-prid="` + tokVoIP + `";pn-param="com.x.y.voip"`,
			Push{Present: true, Sent: "apns", Provider: APNs, BundleID: "com.x.y", VoIPToken: tokVoIP, Param: "com.x.y.voip"}},
		{"query for all", "<sip:a@h;pn-provider>", Push{Present: true, Query: QueryAll}},
		{"query for one", "<sip:a@h;pn-provider=apns>", Push{Present: true, Sent: "apns", Provider: APNs, Query: QueryOne}},
		{"query for one that names the app", "<sip:a@h;pn-provider=apns.dev;pn-param=ABCDE12345.com.x.y.voip>",
			Push{Present: true, Sent: "apns.dev", Provider: APNs, Environment: Sandbox, TeamID: "ABCDE12345", BundleID: "com.x.y", Query: QueryOne, Param: "ABCDE12345.com.x.y.voip"}},
		{"empty pn-prid is none", "<sip:a@h;pn-provider=apns;pn-prid=>", Push{Present: true, Sent: "apns", Provider: APNs, Query: QueryOne}},
		{"pn-prid without pn-provider is plain SIP (s5.6.1)", "<sip:a@h;pn-prid=" + tokVoIP + ";pn-param=com.x.y>", Push{}},
		{"fcm", "<sip:a@h;pn-provider=fcm;pn-prid=cX9-_y:APA91b;pn-param=my-project>",
			Push{Present: true, Sent: "fcm", Provider: FCM, Token: "cX9-_y:APA91b", Param: "my-project"}},
		{"as long as an fcm token may be", "<sip:a@h;pn-provider=fcm;pn-prid=" + strings.Repeat("x", 4096) + ";pn-param=my-project>",
			Push{Present: true, Sent: "fcm", Provider: FCM, Token: strings.Repeat("x", 4096), Param: "my-project"}},
		{"token with = in a header parameter", "<sip:a@h>;pn-provider=fcm;pn-prid=YWJjZGVm==;pn-param=p",
			Push{Present: true, Sent: "fcm", Provider: FCM, Token: "YWJjZGVm==", Param: "p"}},
		{"legacy Linphone VoIP", "<sip:a@h;app-id=org.linphone.phone.voip.prod;pn-type=apple;pn-tok=" + tokVoIP + ";pn-msg-str=IM_MSG>",
			Push{Present: true, Sent: "apple", Provider: APNs, Environment: Production, BundleID: "org.linphone.phone", VoIPToken: tokVoIP, Param: "org.linphone.phone.voip.prod", Legacy: true}},
		{"legacy alert sandbox", "<sip:a@h;app-id=org.linphone.phone.dev;pn-type=apple;pn-tok=" + tokAlert + ">",
			Push{Present: true, Sent: "apple", Provider: APNs, Environment: Sandbox, BundleID: "org.linphone.phone", AlertToken: tokAlert, Param: "org.linphone.phone.dev", Legacy: true}},
		{"legacy two tokens of react-native-pjsip", "<sip:a@h;app-id=com.x.y;pn-voip-tok=" + tokVoIP + ";pn-im-tok=" + tokAlert + ">",
			Push{Present: true, Provider: APNs, BundleID: "com.x.y", VoIPToken: tokVoIP, AlertToken: tokAlert, Param: "com.x.y", Legacy: true}},
		{"legacy Android", "<sip:a@h;app-id=123456;pn-type=firebase;pn-tok=abc:DEF>",
			Push{Present: true, Sent: "firebase", Provider: FCM, Token: "abc:DEF", Param: "123456", Legacy: true}},
		{"legacy without token yet", "<sip:a@h;app-id=com.x.y;pn-type=apple;pn-tok=>", Push{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePush(contactOf(t, tt.contact))
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				// The masked form would hide the difference.
				type plain Push
				t.Errorf("got  %+v\nwant %+v", plain(got), plain(tt.want))
			}
		})
	}
}

func TestParsePushRefuses(t *testing.T) {
	tests := []struct {
		name    string
		contact string
		want    error
		status  int
	}{
		{"provider nobody knows", "<sip:a@h;pn-provider=wp;pn-prid=abcd;pn-param=x>", ErrUnsupportedProvider, 555},
		{"query for a provider nobody knows", "<sip:a@h;pn-provider=acme>", ErrUnsupportedProvider, 555},
		{"legacy Windows phone", "<sip:a@h;pn-type=wp;app-id=x;pn-tok=abcd>", ErrUnsupportedProvider, 555},
		{"path traversal", "<sip:a@h;pn-provider=apns;pn-prid=../3/device/x;pn-param=com.x.y>", ErrMalformed, 400},
		{"CRLF by escape", "<sip:a@h;pn-provider=apns;pn-prid=abcd%0D%0AX:1;pn-param=com.x.y>", ErrUnsafe, 400},
		{"CRLF in the bundle", "<sip:a@h;pn-provider=apns;pn-prid=abcd;pn-param=com.x%0d%0ay>", ErrUnsafe, 400},
		{"not hexadecimal", "<sip:a@h;pn-provider=apns;pn-prid=ghij;pn-param=com.x.y>", ErrMalformed, 400},
		{"one character", "<sip:a@h;pn-provider=apns;pn-prid=a;pn-param=com.x.y>", ErrMalformed, 400},
		{"201 characters", "<sip:a@h;pn-provider=apns;pn-prid=" + strings.Repeat("a", 201) + ";pn-param=com.x.y>", ErrMalformed, 400},
		{"no pn-param", "<sip:a@h;pn-provider=apns;pn-prid=abcd>", ErrMalformed, 400},
		{"pn-param is only a service", "<sip:a@h;pn-provider=apns;pn-prid=abcd;pn-param=.voip>", ErrMalformed, 400},
		{"path in the bundle", "<sip:a@h;pn-provider=apns;pn-prid=abcd;pn-param=com/../x.voip>", ErrMalformed, 400},
		{"one token for two services", "<sip:a@h;pn-provider=apns;pn-prid=abcd;pn-param=com.x.y.voip&remote>", ErrMalformed, 400},
		{"two tokens for one service", "<sip:a@h;pn-provider=apns;pn-prid=abcd&ef01;pn-param=com.x.y.voip>", ErrMalformed, 400},
		{"same service twice", "<sip:a@h;pn-provider=apns;pn-prid=abcd:voip&ef01:voip;pn-param=com.x.y.voip&remote>", ErrMalformed, 400},
		{"three tokens", "<sip:a@h;pn-provider=apns;pn-prid=abcd:voip&ef01:remote&aa;pn-param=com.x.y.voip&remote>", ErrMalformed, 400},
		{"unknown suffix", "<sip:a@h;pn-provider=apns;pn-prid=abcd:fax;pn-param=com.x.y.voip>", ErrMalformed, 400},
		{"token under an empty provider", "<sip:a@h;pn-provider;pn-prid=abcd>", ErrMalformed, 400},
		{"bad escape", "<sip:a@h;pn-provider=apns;pn-prid=abcd%zz;pn-param=com.x.y>", ErrMalformed, 400},
		{"fcm without a project", "<sip:a@h;pn-provider=fcm;pn-prid=cX9-_y:APA91b>", ErrMalformed, 400},
		{"fcm token of other characters", "<sip:a@h;pn-provider=fcm;pn-prid=cX9%7bAPA91b;pn-param=p>", ErrMalformed, 400},
		{"legacy fcm token of other characters", "<sip:a@h;pn-type=firebase;pn-tok=cX9%7bAPA91b;app-id=p>", ErrMalformed, 400},
		{"huge value", "<sip:a@h;pn-provider=fcm;pn-prid=" + strings.Repeat("x", 4097) + ";pn-param=p>", ErrMalformed, 400},
		{"legacy without type", "<sip:a@h;app-id=com.x.y;pn-tok=abcd>", ErrMalformed, 400},
		{"legacy without app", "<sip:a@h;pn-type=apple;pn-tok=abcd>", ErrMalformed, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePush(contactOf(t, tt.contact))
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, %v; want %v", got, err, tt.want)
			}
			var s interface{ SIPStatus() int }
			if !errors.As(err, &s) || s.SIPStatus() != tt.status {
				t.Errorf("status of %v is not %d", err, tt.status)
			}
			if strings.Contains(err.Error(), "abcd") || strings.Contains(err.Error(), "ghij") {
				t.Errorf("error shows the token: %v", err)
			}
			if got.HasToken() {
				t.Error("a refused Contact left a token")
			}
			if tt.status == 555 && (!got.Present || got.Sent == "") {
				t.Errorf("555 does not say which provider: %+v", got)
			}
		})
	}
}

func TestPushNeverPrintsTokens(t *testing.T) {
	p := Push{Present: true, Sent: "apns.dev", Provider: APNs, Environment: Sandbox, TeamID: "ABCDE12345", BundleID: "com.x.y",
		VoIPToken: tokVoIP, AlertToken: tokAlert, Token: "fcm-secret-registration-token"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("understood", "push", p)
	slog.New(slog.NewTextHandler(&log, nil)).Info("understood", "push", &p)
	for _, s := range []string{p.String(), fmt.Sprintf("%v %+v %#v %s", p, p, p, &p), log.String()} {
		for _, secret := range []string{tokVoIP, tokAlert, p.Token} {
			if strings.Contains(s, secret[:len(secret)-4]) || strings.Contains(s, secret[5:]) {
				t.Errorf("token in %q", s)
			}
		}
		for _, shown := range []string{"…e8f0", "…8f90", "com.x.y", "sandbox", "ABCDE12345"} {
			if !strings.Contains(s, shown) {
				t.Errorf("%q is not in %q", shown, s)
			}
		}
	}
	if got := (Push{}).String(); got != "no push" {
		t.Errorf("zero Push prints %q", got)
	}
}

func TestMask(t *testing.T) {
	for token, want := range map[string]string{"": "", "abcd": "…", "abcdefghijk": "…", "abcdefghijkl": "…ijkl"} {
		if got := Mask(token); got != want {
			t.Errorf("Mask(%q) = %q, want %q", token, got, want)
		}
	}
}

func TestStripPushKeepsTheRest(t *testing.T) {
	tests := []struct{ in, want string }{
		{"sip:a@h:5062;transport=tls;pn-provider=apns;pn-prid=aa:remote&bb:voip;pn-param=T.b.voip;ob;line=x9",
			"sip:a@h:5062;transport=tls;ob;line=x9"},
		{"sip:a@h;pn-tok=aa;pn-type=apple;app-id=x;pn-msg-str=M;pn-call-str=C;pn-call-snd=s;pn-msg-snd=s;pn-timeout=0;pn-silent=1;pn-mwi-str=x;pn-groupchat-str=x;pn-missing-call-str=x;gr=urn:uuid:AA",
			"sip:a@h;gr=urn:uuid:AA"},
		{"sip:a@h;PN-PRID=aa;App-Id=x", "sip:a@h"},
		{"sip:a@h;pnx=1;xpn-prid=2;pn=3", "sip:a@h;pnx=1;xpn-prid=2;pn=3"},
		{"sip:alice@[2001:db8::1]:5060;pn-provider;lr", "sip:alice@[2001:db8::1]:5060;lr"},
	}
	for _, tt := range tests {
		var uri sip.Uri
		if err := sip.ParseUri(tt.in, &uri); err != nil {
			t.Fatal(err)
		}
		got := StripPush(uri)
		if got.String() != tt.want {
			t.Errorf("StripPush(%s) = %s, want %s", tt.in, got.String(), tt.want)
		}
		if uri.String() != tt.in {
			t.Errorf("StripPush changed its argument to %s", uri.String())
		}
	}
	c := contactOf(t, "<sip:a@h>;expires=60;pn-prid=YQ==;q=0.5")
	if got := StripPushParams(c.Params).ToString(';'); got != "expires=60;q=0.5" {
		t.Errorf("header parameters left: %s", got)
	}
}

// Whatever two tokens, team, bundle, order and place a client chooses, the same
// tokens come out under the same service.
func TestPushRoundTrip(t *testing.T) {
	hex := rapid.StringMatching(`[0-9a-f]{2,200}`)
	rapid.Check(t, func(t *rapid.T) {
		voip, alert := hex.Draw(t, "voip"), hex.Draw(t, "alert")
		team := rapid.SampledFrom([]string{"", "ABCDE12345.", "0123456789."}).Draw(t, "team")
		bundle := rapid.StringMatching(`[a-z][a-z0-9-]{0,8}(\.[a-z][A-Za-z0-9-]{0,8}x){1,4}`).Draw(t, "bundle")
		tokens := []string{voip + ":voip", alert + ":remote"}
		services := []string{"voip", "remote"}
		if rapid.Bool().Draw(t, "swap tokens") {
			tokens[0], tokens[1] = tokens[1], tokens[0]
		}
		if rapid.Bool().Draw(t, "swap services") {
			services[0], services[1] = services[1], services[0]
		}
		params := "pn-provider=apns;pn-prid=" + strings.Join(tokens, "&") + ";pn-param=" + team + bundle + "." + strings.Join(services, "&")
		value := "<sip:a@h;transport=tcp;" + params + ">"
		if rapid.Bool().Draw(t, "header parameters") {
			value = "<sip:a@h;transport=tcp>;" + params
		}
		c, err := parseContact(value)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePush(*c)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if p.VoIPToken != voip || p.AlertToken != alert || p.BundleID != bundle || p.TeamID != strings.TrimSuffix(team, ".") {
			t.Fatalf("%s: understood %s", value, p)
		}
		stripped := sip.ContactHeader{Address: StripPush(c.Address), Params: StripPushParams(c.Params)}
		if strings.Contains(strings.ToLower(stripped.String()), "pn-") || !strings.Contains(stripped.String(), "transport=tcp") {
			t.Fatalf("stripped to %s", stripped.String())
		}
	})
}

func FuzzParsePush(f *testing.F) {
	for _, seed := range []string{
		"<sip:a@h;pn-provider=apns;pn-prid=aabb:remote&ccdd:voip;pn-param=T.b.c.remote&voip>;expires=60",
		"<sip:a@h>;pn-provider=fcm;pn-prid=YQ==;pn-param=p",
		"sip:a@h;pn-type=apple;app-id=x.y.dev;pn-tok=aabb",
		`<sip:a@h;pn-provider="apns";pn-prid=%41%0d>;+sip.instance="<urn:uuid:1>"`,
		"<sip:a@h;pn-provider>", "*",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseContact(value)
		if err != nil {
			return
		}
		p, err := ParsePush(*c)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsafe) && !errors.Is(err, ErrUnsupportedProvider) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if p.HasToken() && (p.Query != QueryNone || !p.Present) {
			t.Errorf("query with a token: %s", p)
		}
		for _, s := range []string{p.VoIPToken, p.AlertToken, p.BundleID, p.TeamID, p.Token, p.Param, p.String()} {
			if Safe(s) != nil {
				t.Errorf("unsafe value %q", s)
			}
		}
		for _, tok := range []string{p.VoIPToken, p.AlertToken} {
			if strings.Trim(tok, "0123456789abcdef") != "" || len(tok) > 200 {
				t.Errorf("token %q", tok)
			}
		}
		for _, kv := range append(StripPush(c.Address).UriParams, StripPushParams(c.Params)...) {
			if IsPushParam(kv.K) {
				t.Errorf("%q was not stripped", kv.K)
			}
		}
	})
}
