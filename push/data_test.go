package push

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestData(t *testing.T) {
	t.Parallel()
	n := Notification{Kind: VoIP, UUID: "u", CallID: "u@n", Handle: "100", HandleType: "phone", Name: "Anna\u202e Berg\n", Video: true,
		To: "sip:alice@x", From: "sip:100@y", SentAt: time.UnixMilli(1500), ExpiresAt: time.UnixMilli(26500)}
	got, err := Data(n)
	want := map[string]string{"v": "1", "type": "call", "uuid": "u", "call_id": "u@n", "handle": "100", "handle_type": "phone", "name": "Anna Berg",
		"video": "true", "to": "sip:alice@x", "from_uri": "sip:100@y", "sent_at": "1500", "expires_at": "26500"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%v\nwant %v", err, got, want)
	}
	n.Kind = Background
	got, err = Data(n)
	if err != nil || !reflect.DeepEqual(got, map[string]string{"v": "1", "type": "refresh", "to": "sip:alice@x"}) {
		t.Errorf("%v\n%v", err, got)
	}
	n.Kind = Cancel
	got, err = Data(n)
	want = map[string]string{"v": "1", "type": "cancel", "uuid": "u", "call_id": "u@n", "sent_at": "1500", "expires_at": "26500"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%v\nwant %v", err, got, want)
	}
}

func TestDataFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3000)
	got, err := Data(Notification{Kind: VoIP, UUID: "u", Handle: "100", To: "sip:" + long, From: "sip:" + long})
	if err != nil || got["from_uri"] != "" || got["to"] != "sip:"+long || got["handle"] != "100" {
		t.Errorf("%v %v", err, got)
	}
	if _, err := Data(Notification{Kind: VoIP, UUID: long + long}); !errors.Is(err, ErrPayloadTooLarge) {
		t.Error(err)
	}
	for _, k := range []Kind{Alert, "fax"} {
		if _, err := Data(Notification{Kind: k}); !errors.Is(err, ErrUnknownKind) {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// On an iPhone every VoIP push is a call: nothing can write a cancel for it.
func TestAppleGetsNoCancel(t *testing.T) {
	t.Parallel()
	if _, err := Payload(Notification{Kind: Cancel, UUID: "u"}, nil); !errors.Is(err, ErrUnknownKind) {
		t.Error(err)
	}
	d := Device{VoIP: secret, Alert: secret}
	if c := Choose(OnlyCancel, Capability{VoIP: true, Alert: true}, d); c.Reason != NoCredential {
		t.Errorf("%+v", c)
	}
	if c := Choose(OnlyCancel, Capability{VoIP: true, Cancel: true}, d); c.Reason != "" || c.Kind != Cancel || c.Token != secret {
		t.Errorf("%+v", c)
	}
	if c := Choose(OnlyCancel, Capability{VoIP: true, Cancel: true}, Device{Alert: secret}); c.Reason != NoToken {
		t.Errorf("%+v", c)
	}
	for _, w := range []Want{ByPolicy, OnlyVoIP, OnlyAlert, OnlyBackground} {
		if c := Choose(w, Capability{VoIP: true, Alert: true, Cancel: true}, d); c.Kind == Cancel {
			t.Errorf("%d: %+v", w, c)
		}
	}
}

// An app of one service is not one of another that bears its name.
func TestServicesAreApart(t *testing.T) {
	t.Parallel()
	apple, google := App{BundleID: "one"}, App{BundleID: "one", Service: FCM}
	mux, err := NewMux(Route{apple, fakeSender{can: Capability{VoIP: true}}}, Route{google, fakeSender{can: Capability{VoIP: true, Cancel: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if mux.CanCancel(apple) || !mux.CanCancel(google) || mux.CanCancel(App{BundleID: "one", Service: "webpush"}) {
		t.Error("mixed up")
	}
}
