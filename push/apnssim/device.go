package apnssim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// feedSize is how many deliveries wait in Device.Deliveries for a slow reader,
// and how many Device.Received remembers.
const feedSize = 256

// Delivery is a push as the device gets it.
type Delivery struct {
	Seq      uint64 `json:"seq"` // per device, from 1
	APNsID   string `json:"apns_id"`
	Token    string `json:"token"`
	Bundle   string `json:"bundle"`
	Topic    string `json:"topic"`
	PushType string `json:"push_type"`
	Priority int    `json:"priority"`
	// Expiration is zero when the header was absent, time.Unix(0, 0) for "0".
	Expiration time.Time       `json:"expiration,omitzero"`
	Payload    json.RawMessage `json:"payload"`
	// ReceivedAt is when the simulator read the request, DeliveredAt when the
	// device got the push.
	ReceivedAt  time.Time `json:"received_at"`
	DeliveredAt time.Time `json:"delivered_at"`
}

// Device is a simulated phone's end of the push service. A new one is online
// and in production.
type Device struct {
	sim  *Sim
	name string
	feed chan Delivery

	mu      sync.Mutex
	env     Environment
	online  bool
	tokens  map[appKind]string
	stored  map[string]*parcel // bundle -> the one that waits for the device
	history []Delivery
	last    uint64        // Seq of the latest delivery
	changed chan struct{} // closed and replaced at every delivery
}

// appKind is what a device has one token for.
type appKind struct {
	bundle string
	kind   Kind
	env    Environment
}

// NewDevice returns the device of this name, made if there is none.
func (s *Sim) NewDevice(name string) *Device {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.devices[name]; d != nil {
		return d
	}
	d := &Device{
		sim:     s,
		name:    name,
		feed:    make(chan Delivery, feedSize),
		env:     Production,
		online:  true,
		tokens:  make(map[appKind]string),
		stored:  make(map[string]*parcel),
		changed: make(chan struct{}),
	}
	r.devices[name] = d
	return d
}

// Device returns the device of this name, nil if there is none.
func (s *Sim) Device(name string) *Device {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	return s.registry.devices[name]
}

// RemoveDevice makes a device unknown, as if its owner had destroyed it: all its
// tokens become unregistered as of now. Errors: ErrUnknownDevice.
func (s *Sim) RemoveDevice(name string) error {
	d := s.Device(name)
	if d == nil {
		return fmt.Errorf("%w: %q", ErrUnknownDevice, name)
	}
	for _, bundle := range d.bundles() {
		d.Reinstall(bundle)
	}
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	delete(s.registry.devices, name)
	return nil
}

// bundles lists the apps that have a token.
func (d *Device) bundles() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := make(map[string]bool)
	for k := range d.tokens {
		seen[k.bundle] = true
	}
	return slices.Collect(maps.Keys(seen))
}

// Name returns the name given to NewDevice.
func (d *Device) Name() string { return d.name }

// UseEnvironment says how the apps registered from now on are signed.
// Errors: ErrBadIdentifier.
func (d *Device) UseEnvironment(env Environment) error {
	if !env.valid() {
		return fmt.Errorf("%w: environment %q", ErrBadIdentifier, env)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.env = env
	return nil
}

// RegisterVoIP returns the app's PushKit token, 64 hex digits; the same one
// until the app is reinstalled. The app need not be known (Sim.AddApp), but
// pushes to it are then refused with BadTopic.
func (d *Device) RegisterVoIP(bundle string) string { return d.register(bundle, VoIP) }

// RegisterAlert returns the app's token for ordinary pushes; see RegisterVoIP.
func (d *Device) RegisterAlert(bundle string) string { return d.register(bundle, Alert) }

func (d *Device) register(bundle string, kind Kind) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := appKind{bundle, kind, d.env}
	if d.tokens[k] == "" {
		d.tokens[k] = d.sim.registry.issue(d, bundle, kind, d.env)
	}
	return d.tokens[k]
}

// Reinstall removes the app and installs it again: its tokens become
// unregistered as of now, what is stored for it is dropped, and the next
// registration gives new tokens.
func (d *Device) Reinstall(bundle string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, hex := range d.tokens {
		if k.bundle != bundle {
			continue
		}
		delete(d.tokens, k)
		if err := d.sim.registry.setState(hex, Unregistered, d.sim.cfg.Now()); err != nil {
			d.sim.cfg.Log.Error("reinstall", "device", d.name, "err", err)
		}
	}
	if p := d.stored[bundle]; p != nil {
		delete(d.stored, bundle)
		d.sim.journal.delivery(p.seq, Dropped)
	}
}

// Online connects the device to the push service or takes it off. Coming online
// it gets what was stored and has not expired.
func (d *Device) Online(online bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.online == online {
		return
	}
	d.online = online
	if online {
		d.collect()
	}
}

// IsOnline reports what Online was told last.
func (d *Device) IsOnline() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.online
}

// Deliveries is the channel of what the device gets. A reader that falls 256
// behind loses the oldest. It is never closed; select on the end of your own
// work as well.
func (d *Device) Deliveries() <-chan Delivery { return d.feed }

// Received returns the latest deliveries (up to 256) with a Seq above after,
// and a channel that is closed when the next one comes.
func (d *Device) Received(after uint64) ([]Delivery, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Delivery
	for _, v := range d.history {
		if v.Seq > after {
			list = append(list, v)
		}
	}
	return list, d.changed
}

// DeviceStatus is a device's state at one moment.
type DeviceStatus struct {
	Name        string        `json:"name"`
	Environment Environment   `json:"environment"`
	Online      bool          `json:"online"`
	Tokens      []DeviceToken `json:"tokens"`
	Stored      int           `json:"stored"`   // pushes that wait for it
	Received    uint64        `json:"received"` // pushes it ever got
}

// DeviceToken is a current token of a device.
type DeviceToken struct {
	Token       string      `json:"token"`
	Bundle      string      `json:"bundle"`
	Kind        Kind        `json:"kind"`
	Environment Environment `json:"environment"`
}

// Status returns the device's state.
func (d *Device) Status() DeviceStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := DeviceStatus{
		Name: d.name, Environment: d.env, Online: d.online, Tokens: []DeviceToken{},
		Stored: len(d.stored), Received: d.last,
	}
	for k, hex := range d.tokens {
		s.Tokens = append(s.Tokens, DeviceToken{Token: strings.ToLower(hex), Bundle: k.bundle, Kind: k.kind, Environment: k.env})
	}
	return s
}
