// Package pushtest walks the way of a push step by step, with what the running server has,
// and says at which step it ends and what to do about that.
package pushtest

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/fcm"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// A test push is over for the app after testLife; for testFate it may ask what
// became of the call.
const (
	testLife = 10 * time.Second
	testFate = 5 * time.Minute
)

// Sender is the server's own way to the push services.
type Sender interface {
	// App is how push knows an app that a device named, and Route what serves it; false
	// if nothing does.
	App(provider, bundle, team string) (push.App, bool)
	Route(to push.App) (push.Route, bool)
	// Device is a device as the sender addresses it, for a push of one kind.
	Device(to push.App, info location.PushInfo, kind location.TokenKind) push.Device
	// Dispatch returns at once; report is called once.
	Dispatch(ctx context.Context, r push.Request, report func(push.Result))
	// Learn takes over what a result says of a device.
	Learn(owner location.Device, uuid string, r push.Result)
	// SignIn signs a service account in at Google, as fcm.Service does.
	SignIn(ctx context.Context, project string, a fcm.Account) (until time.Time, err error)
	// Roots reads a file of CA certificates; key is that of the configuration.
	Roots(key, file string) (*x509.CertPool, error)
}

// Server is what is tested.
type Server struct {
	Push   config.Push
	Node   string
	Sender Sender
	Memory *location.Memory
	// Edit waits until the edits are stored.
	Edit func(context.Context, ...location.Edit) error
	Log  *slog.Logger
}

// Tester implements api.PushTester. It is asked for the server with each order, because
// the API answers before the server serves.
type Tester struct{ server func() Server }

// New makes a tester.
func New(server func() Server) *Tester { return &Tester{server} }

// TestPush implements api.PushTester: all targets at the same time.
func (t *Tester) TestPush(ctx context.Context, order api.PushOrder) []api.PushReport {
	server := t.server()
	probes := server.probes(order)
	var running sync.WaitGroup
	for _, pr := range probes {
		running.Go(func() { pr.run(ctx) })
	}
	running.Wait()
	out := make([]api.PushReport, 0, len(probes))
	for _, pr := range probes {
		out = append(out, pr.report)
	}
	return out
}

// probe is one test push on its way.
type probe struct {
	server *Server
	kind   location.TokenKind
	quiet  bool // the phone may not ring
	push   location.PushInfo
	to     push.App
	owners []location.Device // who has the token; one that was asked for comes first
	learns bool              // the result is news of the first owner
	wait   time.Duration
	app    config.App
	cert   apns.Certificate // of this kind of push, if the app has one
	env    push.Environment // where the push goes first
	result push.Result
	report api.PushReport
}

func (s *Server) probes(order api.PushOrder) []*probe {
	kind := location.Alert
	if order.VoIP {
		kind = location.VoIP
	}
	made := func(info location.PushInfo) *probe {
		kind := kindFor(info.Provider, kind)
		to, _ := s.Sender.App(info.Provider, info.BundleID, info.TeamID) // a provider that is gone has no route
		return &probe{server: s, kind: kind, quiet: !order.VoIP, push: info, to: to, wait: order.Wait, report: api.PushReport{
			Kind: kind.String(), UUID: uuid.NewString(), App: info.BundleID, Token: info.Token(kind).Masked()}}
	}
	if order.Token != "" {
		info := location.PushInfo{Provider: order.App.Provider, BundleID: order.App.BundleID, TeamID: order.App.TeamID}
		if k := kindFor(info.Provider, kind); k == location.VoIP {
			info.VoIP = location.Token{Value: order.Token, Kind: k}
		} else {
			info.Alert = location.Token{Value: order.Token, Kind: k}
		}
		pr := made(info)
		pr.owners = s.owners(order.Token)
		return []*probe{pr}
	}
	var out []*probe
	for _, key := range order.Devices {
		d, ok := s.Memory.Device(location.Ref{AOR: aorOf(order.User), Key: key})
		if !ok {
			continue // it went in the meantime
		}
		pr := made(d.Push)
		pr.report.User, pr.report.Device = order.User, d.Key
		if d.Instance != "" {
			pr.report.Device = d.Instance
		}
		pr.owners, pr.learns = []location.Device{d}, true
		out = append(out, pr)
	}
	return out
}

// aorOf is the AOR of a user as the API names it, name@domain.
func aorOf(user string) sipua.AOR {
	at := max(strings.LastIndexByte(user, '@'), 0)
	return sipua.NewAOR(user[:at], strings.TrimPrefix(user[at:], "@"))
}

// owners are the devices that announced a token.
func (s *Server) owners(token string) []location.Device {
	var out []location.Device
	for _, aor := range s.Memory.AORs() {
		for _, d := range s.Memory.Devices(aor) {
			if d.Push.VoIP.Value == token || d.Push.Alert.Value == token {
				out = append(out, d)
			}
		}
	}
	return out
}

// stage is one step on the way.
type stage struct {
	name string
	walk func(context.Context) step
}

// stages are those that the push service has, without the wait for the device.
func (p *probe) stages() []stage {
	if p.android() {
		return []stage{{"token", p.hasToken}, {"configuration", p.configuredFCM}, {"network", p.network},
			{"access token", p.accessToken}, {"push", p.sendFCM}}
	}
	return []stage{{"token", p.hasToken}, {"configuration", p.configured}, {"network", p.network},
		{"provider token", p.providerToken}, {"push", p.send}, {"environment", p.environment}}
}

// step is what a stage found. A cure makes it a failure.
type step struct{ text, cure, reason string }

// run walks the stages up to the first that fails.
func (p *probe) run(ctx context.Context) {
	came := make(chan time.Time, 1)
	if p.wait > 0 {
		defer p.watch(came)()
	}
	stages := p.stages()
	if p.wait > 0 {
		stages = append(stages, stage{"register", func(ctx context.Context) step { return p.registers(ctx, came) }})
	}
	for _, stage := range stages {
		start := time.Now()
		s := stage.walk(ctx)
		p.report.Stages = append(p.report.Stages, api.Stage{Name: stage.name, OK: s.cure == "", Text: s.text, Cure: s.cure, Reason: s.reason,
			TookMS: time.Since(start).Milliseconds()})
		if s.cure != "" {
			return
		}
	}
	p.report.OK = true
}

// hasToken says what there is to push to.
func (p *probe) hasToken(context.Context) step {
	t := p.push.Token(p.kind)
	if !t.IsZero() {
		return step{text: t.String() + " of app " + p.push.BundleID}
	}
	if p.kind == location.Alert && !p.push.VoIP.IsZero() {
		return step{text: "the device has no alert token", cure: "test its VoIP token with --voip: the phone then rings for a moment"}
	}
	return step{text: "the device has no " + p.kind.String() + " token",
		cure: "let the app register with pn-* parameters, or announce its tokens with PUT /v1/users/{user}/devices/{instance}"}
}

// send pushes through the server's own connections.
func (p *probe) send(ctx context.Context) step {
	now := time.Now()
	n := push.Notification{Test: true, UUID: p.report.UUID, CallID: p.report.UUID + "@" + p.server.Node, Name: "Wakebridge test", HandleType: "generic",
		SentAt: now, ExpiresAt: now.Add(testLife), Expiration: now.Add(testLife)}
	req := push.Request{Want: push.OnlyAlert, Notification: n, Device: p.server.Sender.Device(p.to, p.push, p.kind)}
	if p.kind == location.VoIP {
		req.Want = push.OnlyVoIP
		if err := p.recordFate(ctx, n); err != nil {
			p.server.Log.Error("the fate of a test push is not stored", "error", err)
			return step{text: "nothing was sent: what to tell the app afterwards could not be stored", cure: "look at the disk of node.data_dir"}
		}
	}
	results := make(chan push.Result, 1)
	p.server.Sender.Dispatch(ctx, req, func(r push.Result) { results <- r })
	p.result = <-results
	if p.learns {
		owner := p.owners[0]
		p.server.Sender.Learn(owner, n.UUID, p.result)
	}
	return p.answer()
}

// answer says what the push service made of the push.
func (p *probe) answer() step {
	r, id := p.result, "apns-id"
	if p.android() {
		id = "message"
	}
	if r.Outcome != push.Accepted {
		text := r.Text
		switch {
		case r.Status != 0 && p.android():
			text += fmt.Sprintf(", answered in %d ms", r.Latency.Milliseconds())
		case r.Status != 0:
			text += fmt.Sprintf(", answered by %s in %d ms", r.Environment, r.Latency.Milliseconds())
		}
		return step{text: text, cure: cure(p.to.Service, r), reason: string(r.Reason)}
	}
	text := fmt.Sprintf("%s (%s %s, %d ms)", r.Text, id, r.ID, r.Latency.Milliseconds())
	if p.kind == location.VoIP && len(p.owners) == 0 {
		text += "; no device has announced this token, so nobody will tell the app that the call is over"
	}
	return step{text: text}
}

// recordFate lets the woken app learn that there is no call: iOS makes it report
// one for each VoIP push.
func (p *probe) recordFate(ctx context.Context, n push.Notification) error {
	now := time.Now()
	var edits []location.Edit
	for _, d := range p.owners {
		edits = append(edits, location.PutFate{Fate: location.Fate{AOR: d.AOR, DeviceKey: d.Key, UUID: n.UUID, Cause: 487, Text: "Wakebridge test",
			ExpiresAt: n.ExpiresAt, Recorded: now, KeepUntil: now.Add(testFate)}})
	}
	if len(edits) == 0 {
		return nil
	}
	return p.server.Edit(ctx, edits...)
}

// environment says which side of APNs answered.
func (p *probe) environment(context.Context) step {
	text := "answered by " + string(p.result.Environment)
	switch {
	case p.result.Tries > 1 && p.result.Environment != p.env:
		text += ": " + string(p.env) + " did not know the token"
		if p.learns {
			text += "; this is remembered for the device"
		}
	case p.app.Environment != string(push.Auto):
		text += ", as push.apps says"
	}
	return step{text: text}
}

// watch tells came when the device registers, from now on.
func (p *probe) watch(came chan<- time.Time) (stop func()) {
	owner := p.owners[0]
	_, stop = p.server.Memory.Watch(owner.AOR, func(c location.Change) {
		if c.Kind != location.Registered || c.Device.Key != owner.Key {
			return
		}
		select {
		case came <- time.Now():
		default:
		}
	})
	return stop
}

// registers waits for the device's REGISTER.
func (p *probe) registers(ctx context.Context, came <-chan time.Time) step {
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case at := <-came:
		after := max(at.Sub(p.result.Written), 0)
		return step{text: fmt.Sprintf("the device registered %d ms after the push was sent", after.Milliseconds())}
	case <-ctx.Done():
		return step{text: "the test was stopped", cure: "run it again"}
	case <-timer.C:
	}
	s := step{text: fmt.Sprintf("no REGISTER within %s", p.wait)}
	_, awake := p.owners[0].Flow()
	switch {
	case awake:
		s.cure = "the device was connected already, so that it need not register: let it sleep and test again"
	case p.kind == location.Alert:
		s.cure = "an alert push starts the app only when its user taps it: tap it, or test with --voip"
	case p.android():
		s.cure = "see that the phone is on and online, that the app was not stopped in the settings nor kept from the background to save the battery, and that it registers when woken"
	default:
		s.cure = "see that the phone is on and online, that the app reports each VoIP push to CallKit (iOS stops waking an app that does not), and that it registers when woken"
	}
	return s
}

// appNames lists the configured apps for a person.
func (p *probe) appNames() string {
	var names []string
	for _, a := range p.server.Push.Apps {
		if a.Provider == string(push.FCM) {
			names = append(names, a.ProjectID+" (fcm)")
			continue
		}
		names = append(names, a.BundleID+" (team "+a.TeamID+")")
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
