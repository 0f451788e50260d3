package daemon

import (
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/store"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/softphone"
)

func TestOutsideOfDialogs(t *testing.T) {
	d := start(t, nil)
	p := peerAt(t, "127.0.0.9").of(d)
	p.request("OPTIONS", "sip:127.0.0.1", "")
	res := p.read("SIP/2.0 200")
	if headerOf(res, "Allow") != "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO" || headerOf(res, "Accept") != "application/sdp, multipart/mixed" || headerOf(res, "Server") != "Wakebridge/test" {
		t.Errorf("%s", res)
	}
	tests := []struct {
		method  string
		headers []string
		want    string
		has     string
	}{
		{"BYE", nil, "SIP/2.0 481", ""},
		{"SUBSCRIBE", nil, "SIP/2.0 405", "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, INFO"},
		{"OPTIONS", []string{"Require: gruu"}, "SIP/2.0 420", "Unsupported: gruu"},
		{"OPTIONS", []string{"Require: path, outbound"}, "SIP/2.0 200", ""},
		{"INVITE", nil, "SIP/2.0 403 No trunk matches 127.0.0.9", ""},
		{"REGISTER", nil, "SIP/2.0 404", ""}, // not our domain
	}
	for _, tt := range tests {
		p.request(tt.method, "sip:127.0.0.1", "", tt.headers...)
		if got := p.read("SIP/2.0 2", "SIP/2.0 4", "SIP/2.0 5"); !strings.HasPrefix(got, tt.want) || !strings.Contains(got, tt.has) {
			t.Errorf("%s %s: %s", tt.method, tt.headers, got)
		}
	}
}

// While the server drains, PBXs send their calls elsewhere, phones go on to
// register, and calls in progress go their way.
func TestDraining(t *testing.T) {
	d, p := hairpin(t, nil)
	invite := p.answered()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		d.Drain(t.Context())
	}()
	soon(t, "the drain begins", d.isDraining)
	p.request("OPTIONS", "sip:127.0.0.1", "")
	if res := p.read("SIP/2.0 503", "SIP/2.0 200"); !strings.HasPrefix(res, "SIP/2.0 503") || headerOf(res, "Retry-After") == "" {
		t.Errorf("%s", res)
	}
	p.request("INVITE", "sip:500@127.0.0.1", sdpAt(trunkHost))
	if res := p.read("SIP/2.0 503", "SIP/2.0 180", "INVITE "); !strings.HasPrefix(res, "SIP/2.0 503") || headerOf(res, "Retry-After") == "" {
		t.Errorf("%s", res)
	}
	phone := peerAt(t, "127.0.0.9").of(d)
	if got := phone.register("alice", d.cfg.Domains[0].Users[0].Password.Reveal()); got != 200 {
		t.Errorf("REGISTER: %d", got)
	}
	select {
	case <-drained:
		t.Error("the call is not waited for")
	default:
	}
	p.hangUp(invite)
	p.reply(p.read("BYE "), "200 OK", "")
	<-drained
}

// soon polls until a condition holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("never: ", what)
		}
	}
}

// The gate knows a flow as long as it lives, and the location too.
func TestEndOfAFlow(t *testing.T) {
	d := start(t, nil)
	phone, err := softphone.New(softphone.Config{AOR: callee, Password: d.cfg.Domains[0].Users[0].Password.Reveal(), Dial: softphone.Dialer(nil),
		Media: func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	if _, _, err := phone.RegisterAndWait(t.Context(), softphone.Account{Transport: sipua.TCP, Server: softphone.At(d.Addr(sipua.TCP))}); err != nil {
		t.Fatal(err)
	}
	known := func() int {
		d.gate.mu.Lock()
		defer d.gate.mu.Unlock()
		return len(d.gate.proven)
	}
	awake := func() bool {
		devices := d.Memory().Devices(callee)
		_, ok := devices[0].Flow()
		return ok
	}
	if known() != 1 || !awake() {
		t.Fatalf("%d sources are proven, awake %t", known(), awake())
	}
	phone.Close()
	soon(t, "the flow is forgotten", func() bool { return known() == 0 && !awake() })
}

func TestFates(t *testing.T) {
	d := start(t, nil)
	f := location.Fate{AOR: callee, DeviceKey: "d1", UUID: "u1", Cause: 487, ExpiresAt: time.Now().Add(time.Minute), Recorded: time.Now()}
	fates{d}.Put(f)
	soon(t, "the fate is kept", func() bool {
		kept := d.Memory().Fates(location.Ref{AOR: callee, Key: "d1"})
		return len(kept) == 1 && kept[0].UUID == "u1"
	})
}

func TestRecordRow(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	rec := bridge.Record{ID: "c1", CallID: "x", Started: start, Answered: start.Add(time.Second), Ended: start.Add(time.Minute), From: "sip:a@b", To: "sip:c@d",
		Trunk: "pbx", User: "sip:c@d", Result: bridge.Answered, Status: 200, Reason: "answered by x", HangupBy: "caller",
		Detail: bridge.Detail{Attempts: []bridge.AttemptRecord{{Device: "d1", UUID: "u1", Outcome: "won"}, {Device: "d2", UUID: "u2", Outcome: "lost"}}}}
	row, err := rowOf(rec)
	if err != nil {
		t.Fatal(err)
	}
	if row.ID != rec.ID || row.Started != rec.Started || row.Answered != rec.Answered || row.Ended != rec.Ended || row.From != rec.From || row.To != rec.To ||
		row.Trunk != rec.Trunk || row.User != rec.User || row.Status != 200 || row.Reason != rec.Reason {
		t.Errorf("%+v", row)
	}
	if len(row.Devices) != 2 || row.Devices[1] != (store.RecordDevice{Device: "d2", UUID: "u2", Outcome: "lost"}) {
		t.Errorf("%+v", row.Devices)
	}
	var back bridge.Record
	if err := json.Unmarshal(row.Doc, &back); err != nil || back.Attempts[0].UUID != "u1" || back.HangupBy != "caller" {
		t.Errorf("%v %+v", err, back)
	}
}

// A record that cannot be stored is an error, and whoever listens hears of it all
// the same.
func TestRecordAfterTheEnd(t *testing.T) {
	dev := development(t)
	opts := quiet()
	heard := 0
	opts.Recorded = func(bridge.Record) { heard++ }
	d, err := New(t.Context(), dev.Config, opts)
	if err != nil {
		t.Fatal(err)
	}
	stop(d)
	if err := (records{d}).Append(bridge.Record{ID: "c1"}); err == nil || heard != 1 {
		t.Errorf("%v, heard %d times", err, heard)
	}
}
