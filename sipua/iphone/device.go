package iphone

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// Config is what a Device is made of. App, Account, Network, Pushes and Log are
// required.
type Config struct {
	// OS is the major version of iOS, 8 to 26, OSMinor the minor one. Default: 18.0.
	OS, OSMinor int
	// NoCallKit: an iOS 10 or later on which the app may not use CallKit.
	NoCallKit bool
	App       App
	Account   Account
	// Foreign: the server is not Wakebridge. The app announces no +x-wake-fate, and
	// a call whose INVITE does not come is no violation (RuleInvite): elsewhere nobody
	// tells a phone that wakes up late what became of it.
	Foreign bool
	Network Network
	Pushes  PushSource
	// Policy is how the app behaves. Default: the correct app.
	Policy Policy
	// Strikes is after how many pushes that were not reported iOS delivers no more
	// until the app is installed anew. Apple does not publish its number. Default: 3.
	Strikes int
	// User is what the user does by himself. Default: Ignore.
	User Habit
	// Audio is what the user says. Its Manual is set: CallKit starts the audio.
	Audio  softphone.AudioConfig
	Timing Timing
	// Observe sees each event, on the main queue: it must only post.
	Observe func(Event)
	Log     *slog.Logger
}

// App names the app as Apple does, and says how it was built.
type App struct {
	TeamID   string // ten capitals and digits
	BundleID string
	Version  string // in User-Agent; may be empty
	// Provider is the pn-provider of its tokens. Default: apns. Flexisip takes apns.dev
	// for the sandbox.
	Provider string
	// Unentitled: without the background mode "Voice over IP", so that CallKit shows
	// none of its incoming calls.
	Unentitled bool
	// CallGroups is CXProviderConfiguration's maximumCallGroups: how many calls there
	// may be at a time but for those that ring. Its maximumCallsPerCallGroup is never
	// reached, as the app joins no calls: each is a group. Default: 2, as Apple's.
	CallGroups int
}

// Account is the app's SIP account.
type Account struct {
	AOR      sipua.AOR
	Display  string
	Password string
	// Registrar is the Request-URI of REGISTER. Default: the AOR's domain.
	Registrar sip.Uri
	Transport sipua.Transport // default: TCP
	Server    sipua.Destination
	Expires   time.Duration // default: 7 d
	// Instance is the URN of +sip.instance, until the app is installed anew.
	// Default: a new urn:uuid.
	Instance string
}

// Network is the device's way to the world.
type Network struct {
	// Dial opens streams; for TLS it returns after the handshake.
	Dial func(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error)
	// Packet opens a socket for SIP over UDP; nil: there is no UDP.
	Packet func() (net.PacketConn, error)
	// Media opens the socket of a call's RTP.
	Media func() (net.PacketConn, error)
	// Roam takes the device to another address, from which Dial and Media work from
	// then on. nil: there is none, and only the port of a connection changes.
	Roam func()
	// Tap sees each SIP message; it must only post. nil: nobody looks.
	Tap func(sipua.Traffic)
}

// Timing is how fast the phone is, and the limits that iOS sets. Zero fields take
// their defaults.
type Timing struct {
	Launch     time.Duration // from a push to running code. Default: 300ms (seen: 0.3 to 2 s).
	Audio      time.Duration // from the fulfilled answer to running audio. Default: 150ms (seen: 50 to 300 ms).
	Background time.Duration // before an idle app is suspended. Default: 5s.
	Report     time.Duration // from a push to the report at the latest. Default: 7s.
	Ring       time.Duration // before CallKit ends a ringing call, from iOS 16 on. Default: 60s.
	Action     time.Duration // for an action to be fulfilled or failed. Default: 60s.
	Invite     time.Duration // for the INVITE after the 200 to REGISTER, or after the user answered. Default: 10s.
	Offline    time.Duration // without network, of the policy online-after-cancel. Default: 20s.
}

func (t Timing) withDefaults() Timing {
	span := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	span(&t.Launch, 300*time.Millisecond)
	span(&t.Audio, 150*time.Millisecond)
	span(&t.Background, 5*time.Second)
	span(&t.Report, 7*time.Second)
	span(&t.Ring, time.Minute)
	span(&t.Action, time.Minute)
	span(&t.Invite, 10*time.Second)
	span(&t.Offline, 20*time.Second)
	return t
}

// Device is a simulated iPhone with one app installed.
type Device struct {
	cfg    Config
	log    *slog.Logger
	queue  *mainQueue
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the queue, the listening for pushes, what waits for SIP
	once   sync.Once

	ios ios // the queue's

	mu         sync.Mutex
	events     []Event
	violations []Violation
	changed    chan struct{} // closed and replaced with each event
	heard      map[uuid.UUID]*softphone.Call
}

// ios is what the system holds. It belongs to the main queue.
type ios struct {
	newApp        func(*process) (delegate, error) // the app that is installed
	offline       bool
	process       *process // nil: not running
	launching     []func() // what waits for a launch under way; nil: none
	opening       bool     // the launch is to the foreground
	deliveries    []*delivery
	screen        *callScreen
	notifications []notification
	storage       *storage
	doNotDisturb  bool
	blockList     []string // handles
	locked        bool
	sealed        bool // not unlocked since it started: what apps stored cannot be read
	strikes       int  // pushes that were not reported
	blocked       bool // for that: VoIP pushes are not delivered any more
}

func newStorage() *storage {
	return &storage{instance: uuid.New().URN(), ended: make(map[uuid.UUID]endedCall)}
}

// storage is what the app keeps on disk; it outlives the process.
type storage struct {
	instance   string // urn:uuid:...
	voipToken  string
	alertToken string
	ended      map[uuid.UUID]endedCall
}

// endedCall is remembered so that a push that comes late does not ring.
type endedCall struct {
	reason Reason
	at     time.Time
}

// New makes a device that is switched on and online, with the app installed but
// not started. Close ends it.
func New(cfg Config) *Device {
	if cfg.OS == 0 {
		cfg.OS = 18
	}
	if cfg.Account.Transport == 0 {
		cfg.Account.Transport = sipua.TCP
	}
	if cfg.Account.Expires <= 0 {
		cfg.Account.Expires = 7 * 24 * time.Hour
	}
	if cfg.Strikes <= 0 {
		cfg.Strikes = 3
	}
	if cfg.App.Provider == "" {
		cfg.App.Provider = "apns"
	}
	if cfg.App.CallGroups <= 0 {
		cfg.App.CallGroups = 2
	}
	cfg.Timing = cfg.Timing.withDefaults()
	d := &Device{cfg: cfg, log: cfg.Log, queue: newMainQueue(), changed: make(chan struct{}), heard: make(map[uuid.UUID]*softphone.Call)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.ios.newApp = newApp
	d.ios.storage = newStorage()
	if cfg.Account.Instance != "" {
		d.ios.storage.instance = cfg.Account.Instance
	}
	d.ios.screen = newCallScreen(d)
	d.wg.Add(2)
	go func() { // awaited by Close
		defer d.wg.Done()
		d.queue.run(d.settle)
	}()
	go func() { // awaited by Close
		defer d.wg.Done()
		d.listen()
	}()
	if cfg.Policy.start != nil {
		d.queue.post(func() { cfg.Policy.start(d) })
	}
	return d
}

// Close switches the device off, as if its battery were taken out.
func (d *Device) Close() {
	d.once.Do(func() {
		d.cancel()
		err := d.queue.do(func() error {
			if p := d.ios.process; p != nil {
				p.end()
			}
			return nil
		})
		if err != nil {
			d.log.Debug("switch off", "error", err)
		}
		d.queue.close()
	})
	d.wg.Wait()
}

// listen takes pushes from the push service.
func (d *Device) listen() {
	for {
		p, err := d.cfg.Pushes.Next(d.ctx)
		if err != nil {
			if d.ctx.Err() == nil {
				d.log.Warn("push service", "error", err)
			}
			return
		}
		d.queue.post(func() { d.received(p) })
	}
}

// tellsMustReport says that PushKit tells the app whether it has to report a push.
func (d *Device) tellsMustReport() bool {
	return d.cfg.OS > 26 || d.cfg.OS == 26 && d.cfg.OSMinor >= 4
}

// callKit says that the app can use CallKit here.
func (d *Device) callKit() bool { return d.cfg.OS >= 10 && !d.cfg.NoCallKit }

// received takes a push off the push service.
func (d *Device) received(p Push) {
	d.tell(Event{Kind: PushReceived, Text: p.Type})
	s := d.ios.storage
	switch p.Type {
	case pushVoIP:
		if !strings.EqualFold(p.Token, s.voipToken) {
			d.violate(RuleToken, uuid.Nil, "VoIP push to a token that is not the app's")
			return
		}
		if d.ios.blocked {
			d.tell(Event{Kind: Withheld})
			return
		}
		d.deliver(p)
	case pushAlert:
		if !strings.EqualFold(p.Token, s.alertToken) {
			d.violate(RuleToken, uuid.Nil, "alert push to a token that is not the app's")
			return
		}
		d.notify(p)
	}
}

// settle runs behind each task: an app with nothing to do is suspended after a
// while.
func (d *Device) settle() {
	if p := d.ios.process; p != nil {
		p.rest()
	}
}
