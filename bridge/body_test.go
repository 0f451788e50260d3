package bridge_test

import (
	"strings"
	"testing"

	"wakebridge/bridge"
	"wakebridge/sipua/leg"
)

const (
	isup = "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x00\x49\r\n"
	pidf = "Content-Type: application/pidf+xml\r\nContent-ID: <target@example.com>\r\n\r\n<presence/>\r\n"
)

// parts is an INVITE's body of parts.
func parts(of ...string) func(*leg.Invite) {
	return func(inv *leg.Invite) {
		inv.ContentType = "multipart/mixed;boundary=b"
		inv.Body = []byte("--b\r\n" + strings.Join(of, "\r\n--b\r\n") + "\r\n--b--\r\n")
	}
}

// What carriers send beside their SDP does not keep a call from its phone, and does not
// reach that.
func TestInviteOfSeveralParts(t *testing.T) {
	for _, beside := range []string{isup, pidf} {
		inWorld(t, nil, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
			phone.register(alice)
			a := pbx.call("alice", parts(beside, "Content-Type: application/sdp\r\n\r\n"+string(pbx.sdp())))
			b := phone.invited(0)
			if got := string(b.invite.Body()); !strings.HasPrefix(got, "v=0") || strings.Contains(got, "--b") {
				t.Errorf("the phone got\n%s", got)
			}
			b.pickUp()
			a.expect("200")
			if x, y := w.speak(pbx, phone); x != 1 || y != 1 {
				t.Errorf("%d and %d packets arrived", x, y)
			}
			a.hangUp()
		})
	}
	inWorld(t, nil, func(w *world) { // no SDP: the callee gets an offer of ours
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", parts(pidf))
		phone.invited(0).pickUp()
		if body := string(last[leg.Answered](a).Body); !strings.HasPrefix(body, "v=0") {
			t.Errorf("the 200 has %q", body)
		}
		a.expect(`200, BYE SIP;cause=488;text="No usable answer in the ACK"`) // the test's leg does not know that its ACK was to have an answer
	})
}

func TestInviteWithWhatMustBeUnderstood(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", parts(strings.ReplaceAll(isup, "optional", "required"), "Content-Type: application/sdp\r\n\r\n"+string(pbx.sdp())))
		a.expect("415")
		if r := w.record(); r.Result != bridge.Rejected || r.Status != 415 || !strings.Contains(r.Reason, "application/isup") {
			t.Errorf("record: %+v", r)
		}
		if phone.got(0) != nil {
			t.Error("the phone rang")
		}
	})
}
