package location_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// However a device is printed, none of its tokens is.
func TestTokensNeverShow(t *testing.T) {
	d := locationtest.Device("alice", "k")
	secrets := []string{d.Push.VoIP.Value[:8], d.Push.Alert.Value[:8]}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "device", d, "binding", d.Bindings[0], "token", d.Push.VoIP)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "device", d, "binding", &d.Bindings[0], "token", &d.Push.VoIP)
	js, err := json.Marshal(map[string]any{"d": d, "c": location.Change{Device: d}})
	if err != nil {
		t.Fatal(err)
	}
	for how, out := range map[string]string{
		"%v": fmt.Sprintf("%v", d), "%+v": fmt.Sprintf("%+v", d), "%#v": fmt.Sprintf("%#v", d), "%s": d.Push.VoIP.String(),
		"pointer": fmt.Sprintf("%+v", &d), "change": fmt.Sprintf("%+v", location.Change{Device: d}), "slog": log.String(), "json": string(js),
		"batch": fmt.Sprintf("%+v", location.Batch{Put: []location.Device{d}}),
	} {
		for _, secret := range secrets {
			if strings.Contains(out, secret) {
				t.Errorf("%s shows a token: %s", how, out)
			}
		}
	}
	if !strings.Contains(string(js), "…8293") || d.Push.VoIP.String() != "voip …8293" {
		t.Errorf("not recognisable any more: %s, %s", d.Push.VoIP, js)
	}
}

// The edits hold tokens in plain fields, and may find their way into a log as well.
func TestEditsNeverShowTokens(t *testing.T) {
	const token = "deadbeefcafe0123456789"
	aor := sipua.NewAOR("a", "h")
	for _, e := range []location.Edit{
		location.RemoveBinding{AOR: aor, Contact: "<sip:a@h;pn-prid=" + token + ">", Token: token},
		location.RemoveToken{Value: token, Kind: location.VoIP, NotAfter: time.Unix(1, 0)},
		location.SetEnvironment{Value: token},
		location.Throttle{Value: token, Kind: location.Alert},
		location.Upsert{AOR: aor, Binding: location.Binding{Contact: "<sip:a@h;pn-prid=" + token + ">"}, Push: location.PushInfo{VoIP: location.Token{Value: token}}},
		location.Announce{AOR: aor, Push: location.PushInfo{VoIP: location.Token{Value: token}}},
	} {
		js, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{fmt.Sprintf("%v", e), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e), string(js)} {
			if strings.Contains(out, token[:8]) {
				t.Errorf("%T shows its token: %s", e, out)
			}
		}
	}
}

func TestMaskContact(t *testing.T) {
	for in, want := range map[string]string{
		"<sip:a@h;pn-prid=00112233445566778899:voip&aabbccddeeff00112233:remote;x=y>;q=1": "<sip:a@h;pn-prid=…mote;x=y>;q=1",
		"<sip:a@h;PN-TOK=001122>":                            "<sip:a@h;PN-TOK=…>",
		"<sip:a@h;pn-prid=>;x":                               "<sip:a@h;pn-prid=>;x",
		"<sip:a@h;pn-prid>":                                  "<sip:a@h;pn-prid>",
		"sip:a@h;pn-prid=0011223344556677":                   "sip:a@h;pn-prid=…6677",
		"<sip:a@h;pn-provider=apns;pn-prid =001122334455aa>": "<sip:a@h;pn-provider=apns;pn-prid =…55aa>",
		"<sip:a@h>;+sip.instance=\"<urn:uuid:x>\"":           "<sip:a@h>;+sip.instance=\"<urn:uuid:x>\"",
		"": "",
	} {
		if got := location.MaskContact(in); got != want {
			t.Errorf("MaskContact(%q) = %q, want %q", in, got, want)
		}
	}
}
