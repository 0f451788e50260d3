package location_test

import (
	"strings"
	"testing"

	"wakebridge/sipua/location"
)

func TestInstanceID(t *testing.T) {
	const canonical = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
	for in, want := range map[string]string{
		`"<urn:uuid:F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6>"`: canonical,
		`<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>`:   canonical,
		`URN:UUID:f81d4fae-7dec-11d0-a765-00a0c91e6bf6`:     canonical,
		`F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6`:              canonical, // as an HTTP path says it
		`"<urn:gsma:imei:90420156-025763-0>"`:               "urn:gsma:imei:90420156-025763-0",
		`Phone One`:                                         "Phone One",
		``:                                                  "",
		`"<>"`:                                              "",
		`"`:                                                 "",
	} {
		if got := location.InstanceID(in); got != want {
			t.Errorf("InstanceID(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNormalContactEqual(t *testing.T) {
	same := [][]string{
		{"sip:alice@10.0.0.1", "SIP:alice@10.0.0.1", "<sip:alice@10.0.0.1>", `"A; <x>, B" <sip:alice@10.0.0.1>;expires=60`, "sip:%61lice@10.0.0.1", "sip:alice@10.0.0.1;expires=5"},
		{"<sip:alice@Host.example;transport=TCP;lr>", "<sip:alice@host.EXAMPLE;lr;Transport=tcp>"},
		{"<sip:a@h;pn-provider=apns;pn-prid=00aa:voip&11bb:remote;pn-param=T.b.voip&remote;x=1>", "<sip:a@h;x=1>", "<sip:a@h;pn-prid=ff;PN-Provider=apns;x=1>", "<sip:a@h;app-id=b;pn-type=apple;pn-tok=00;x=1>"},
		{"<sip:[2001:DB8::1]:5060>", "<sip:[2001:db8::1]:5060>"},
		{`"quo\"te <" <sip:a@h>`, "<sip:a@h>"},
		{"<sip:a%2fb@h>", "<sip:a%2Fb@h>"},
		{"<sip:a;day=tuesday@h>", "<sip:a;day=tuesday@H>"},
	}
	for _, class := range same {
		for _, c := range class {
			if got, want := location.NormalContact(c), location.NormalContact(class[0]); got != want {
				t.Errorf("NormalContact(%q) = %q, of %q %q", c, got, class[0], want)
			}
		}
	}
	for i, a := range same {
		for j, b := range same {
			if i != j && location.NormalContact(a[0]) == location.NormalContact(b[0]) {
				t.Errorf("%q and %q are equal", a[0], b[0])
			}
		}
	}
	different := []string{
		"sip:alice@h", "sip:Alice@h", "sip:alice@h:5060", "sips:alice@h", "<sip:alice@h;transport=udp>", "<sip:alice@h;rinstance=1>",
		"<sip:alice@h;rinstance=2>", "sip:h", "sip:alice%40x@h", "<sip:alice@h?x=y>",
	}
	seen := map[string]string{}
	for _, c := range different {
		n := location.NormalContact(c)
		if other, ok := seen[n]; ok {
			t.Errorf("%q and %q are both %q", c, other, n)
		}
		seen[n] = c
	}
}

func FuzzNormalContact(f *testing.F) {
	for _, s := range []string{"", "<", `"`, `"\`, "sip:", "<sip:a@b;pn-prid=1>", "%", "%4", "sip:%41@h", "sip:@;?", "<sip:a%25%34%31@h>", "<;pn-prid=0011", "<x: ; pn-prid=00;pn-tok=1:2>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := location.NormalContact(s)
		if strings.Contains(n, ";pn-prid=") && !strings.Contains(n, "@") && !strings.Contains(n, "?") {
			t.Errorf("NormalContact(%q) = %q shows a token", s, n)
		}
		if again := location.NormalContact("<" + n + ">"); again != n && !strings.ContainsAny(s, "<>%") {
			t.Errorf("NormalContact(%q) = %q, and of that %q", s, n, again)
		}
		location.MaskContact(s)
		location.InstanceID(s)
	})
}

func TestNewKey(t *testing.T) {
	const token = "00112233445566778899aabbccddeeff"
	for _, test := range []struct{ instance, token, contact, want string }{
		{"urn:uuid:1", token, "sip:a@h", "urn:uuid:1"},
		{"", "", `<sip:A@H;pn-prid=00112233445566778899aabbccddeeff>`, "sip:A@h"},
	} {
		if got := location.NewKey(test.instance, test.token, test.contact); got != test.want {
			t.Errorf("NewKey = %q, want %q", got, test.want)
		}
	}
	key := location.NewKey("", token, "sip:a@h")
	if !strings.HasPrefix(key, "token:") || strings.Contains(key, token[:8]) || key != location.NewKey("", token, "sip:b@h") {
		t.Errorf("key of a token is %q", key)
	}
	if key == location.NewKey("", token+"0", "sip:a@h") {
		t.Error("two tokens, one key")
	}
}
