package registrar

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// Config is what a Registrar needs. All but InCall, Late, Proved and Registerer is
// required.
type Config struct {
	Memory  *location.Memory
	Auth    *Auth
	Domains []Domain
	Push    PushTerms
	Node    string // goes into each binding
	Log     *slog.Logger
	// InCall says that a device is in a call. nil: never.
	InCall func(location.Ref) bool
	// Late gets the fates of a device that registered too late and does not read
	// X-Call-Ended, and returns those that it will not tell: they go into the answer
	// all the same. It must only post. nil: it tells none.
	Late func(d location.Device, fates []location.Fate) (rest []location.Fate)
	// Proved is told of each flow on which a user has proven itself, again with each
	// REGISTER; limits look at it. It must only post. nil: nobody.
	Proved func(f *sipua.Flow)
	// Supported is the header of that name in a 200: what the endpoint supports.
	Supported  string
	Registerer prometheus.Registerer
}

// Domain is a domain and its terms for bindings without push.
type Domain struct {
	Name        string
	MaxContacts int // per AOR, 0: no limit
	Expires     Lease
}

// Lease bounds how long a binding lives.
type Lease struct{ Min, Default, Max time.Duration }

// PushTerms are the terms for bindings with push tokens.
type PushTerms struct {
	Expires Lease
	// Serves says that pushes to an app can be sent. bundle is the project with
	// provider "fcm"; the team may be "".
	Serves func(provider, bundle, team string) bool
	// Services lists the push services that a capability query hears of.
	Services []string
}

// Sizes and times of the loop.
const (
	maxQueued    = 4096 // REGISTERs that wait; more get 503
	maxBatch     = 256
	releaseAfter = 50 * time.Millisecond
	commitWithin = 10 * time.Second
)

// Registrar owns the loop.
type Registrar struct {
	cfg     Config
	log     *slog.Logger
	domains map[string]Domain
	metrics *metrics
	pins    map[sipua.AOR][]*sipua.Flow // the loop's: UDP flows that bindings need
	work    *queue[job]
	commits *queue[*batch]
	wg      sync.WaitGroup
}

// job is one thing for the loop: a REGISTER, or edits of somebody else.
type job struct {
	tx    *sipua.ServerTx
	edits []location.Edit
	at    time.Time
	tell  chan<- done // of a Do; nil: nobody waits
}

// New starts the loop and the committer.
func New(cfg Config) *Registrar {
	r := &Registrar{cfg: cfg, log: cfg.Log, domains: make(map[string]Domain), metrics: newMetrics(cfg.Registerer, cfg.Memory),
		pins: make(map[sipua.AOR][]*sipua.Flow), work: newQueue[job](), commits: newQueue[*batch]()}
	for _, d := range cfg.Domains {
		r.domains[sipua.NewAOR("", d.Name).Domain] = d
	}
	r.wg.Add(2)
	go func() { // awaited by Close
		defer r.wg.Done()
		defer r.commits.close()
		r.loop()
	}()
	go func() { // awaited by Close
		defer r.wg.Done()
		r.commit()
	}()
	return r
}

// Close takes no more work, finishes what is queued, commits it and waits.
func (r *Registrar) Close() {
	r.work.close()
	r.wg.Wait()
}

// Request takes a REGISTER (sipua.Handler.Request); it only queues.
func (r *Registrar) Request(tx *sipua.ServerTx) {
	if r.work.len() >= maxQueued || !r.work.put(job{tx: tx, at: time.Now()}) {
		tx.Reject(sipua.Reject(503, "", sipua.HeaderLine{Name: "Retry-After", Value: "5"}))
	}
}

// Edit changes Memory on behalf of somebody else: push results, fates, the API.
func (r *Registrar) Edit(edits ...location.Edit) {
	r.work.put(job{edits: edits})
}

// FlowGone puts the devices of a flow to sleep.
func (r *Registrar) FlowGone(f *sipua.Flow) {
	r.Edit(location.FlowGone{Flow: location.FlowID(f.ID())})
}

// batch is what was applied in one step and waits for its commit.
type batch struct {
	release func() // tells the watchers, once
	slow    *time.Timer
	answers []answer
	waiting []waiting
}

// answer is a REGISTER that was accepted.
type answer struct {
	tx  *sipua.ServerTx
	reg registration
}

// loop is the only writer of Memory.
func (r *Registrar) loop() {
	for {
		jobs, open := r.work.take(maxBatch, r.untilDue())
		if len(jobs) > 0 || open {
			r.apply(jobs)
		}
		if !open && len(jobs) == 0 {
			return
		}
	}
}

// untilDue is how long the loop may sleep before something expires.
func (r *Registrar) untilDue() time.Duration {
	due, ok := r.cfg.Memory.NextDue()
	if !ok {
		return time.Hour
	}
	return max(time.Until(due), time.Millisecond)
}

// apply authorises what came and applies it in one step.
func (r *Registrar) apply(jobs []job) {
	var edits []location.Edit
	b := &batch{}
	order := make(sequence)
	for _, j := range jobs {
		edits = append(edits, j.edits...)
		if j.tell != nil {
			b.waiting = append(b.waiting, waiting{tell: j.tell, from: len(edits) - len(j.edits), to: len(edits)})
		}
		if j.tx == nil {
			continue
		}
		var reg registration
		err := r.contain("REGISTER from "+j.tx.Flow().Remote().String(), func() (err error) {
			reg, err = r.authorise(j.tx, order)
			return err
		})
		if err != nil {
			r.refuse(j.tx, err)
			continue
		}
		r.metrics.delay.Observe(time.Since(j.at).Seconds())
		edits = append(edits, reg.edits...)
		b.answers = append(b.answers, answer{tx: j.tx, reg: reg})
	}
	now := time.Now()
	if due, ok := r.cfg.Memory.NextDue(); ok && !due.After(now) {
		edits = append(edits, location.Expire{Now: now, InCall: r.cfg.InCall})
	}
	if len(edits) == 0 && len(b.answers) == 0 && len(b.waiting) == 0 {
		return
	}
	applied := r.cfg.Memory.Apply(edits...)
	for i := range b.waiting {
		w := &b.waiting[i]
		w.notes = slices.DeleteFunc(slices.Clone(applied.Notes), func(n location.Note) bool { return n.Edit < w.from || n.Edit >= w.to })
	}
	b.release = sync.OnceFunc(func() { r.release(applied) })
	// A call that waits for a device must not wait for the disk, nor for the batch
	// that is on its way there.
	b.slow = time.AfterFunc(releaseAfter, b.release)
	for _, a := range b.answers {
		r.unpin(a.reg.aor)
	}
	r.report(applied.Notes)
	r.commits.put(b)
}

// release tells the watchers.
func (r *Registrar) release(applied *location.Applied) {
	err := r.contain("telling watchers of devices", func() error {
		applied.Release()
		return nil
	})
	if err != nil {
		r.log.Error("watchers may have missed a change", "error", err)
	}
}

// refuse answers a REGISTER that changes nothing. Who has proven nothing costs no
// memory.
func (r *Registrar) refuse(tx *sipua.ServerTx, err error) {
	r.metrics.refused(err)
	if sipua.Status(err) == 401 {
		tx.Refuse(err)
		return
	}
	tx.Reject(err)
}

// pin keeps a UDP flow as long as a binding needs it.
func (r *Registrar) pin(aor sipua.AOR, f *sipua.Flow, until time.Time) {
	if f.Transport() != sipua.UDP {
		return
	}
	f.Pin(until)
	if !slices.Contains(r.pins[aor], f) {
		r.pins[aor] = append(r.pins[aor], f)
	}
}

// unpin lets go of the flows that no binding of the AOR's has any more: a phone
// whose address changes leaves one behind each time.
func (r *Registrar) unpin(aor sipua.AOR) {
	r.pins[aor] = slices.DeleteFunc(r.pins[aor], func(f *sipua.Flow) bool {
		devices := r.cfg.Memory.OnFlow(location.FlowID(f.ID()))
		if len(devices) == 0 {
			f.Unpin()
		}
		return !slices.ContainsFunc(devices, func(d location.Device) bool { return d.AOR == aor })
	})
	if len(r.pins[aor]) == 0 {
		delete(r.pins, aor)
	}
}

// report tells the operator what is odd.
func (r *Registrar) report(notes []location.Note) {
	for _, n := range notes {
		switch n.Kind {
		case location.Suspected:
			r.log.Warn("a device does not come although its VoIP pushes are accepted: alert pushes go first until it registers or answers "+
				"(does the app report each call to CallKit? was the phone unlocked since it started?)",
				"note", n.Kind.String(), "aor", n.Device.AOR.String(), "device", n.Device.Key)
			continue
		case location.Recovered:
			r.log.Info("a device that did not come is here again", "note", n.Kind.String(), "aor", n.Device.AOR.String(), "device", n.Device.Key)
			continue
		case location.TokenDead:
			r.log.Info("a backend announces a token that its push service called dead: not taken", "note", n.Kind.String(),
				"aor", n.Device.AOR.String(), "device", n.Device.Key, "token", n.Token)
			continue
		}
		r.log.Warn("registration", "note", n.Kind.String(), "aor", n.Device.AOR.String(), "device", n.Device.Key,
			"by", n.By.AOR.String(), "by_device", n.By.Key, "token", n.Token)
	}
}

// commit makes batches durable, as many as wait in one transaction, and answers.
func (r *Registrar) commit() {
	for {
		batches, open := r.commits.take(maxBatch, time.Hour)
		if len(batches) > 0 {
			r.settle(batches)
		}
		if !open && len(batches) == 0 {
			return
		}
	}
}

func (r *Registrar) settle(batches []*batch) {
	ctx, cancel := context.WithTimeout(context.Background(), commitWithin)
	err := r.cfg.Memory.Flush(ctx)
	cancel()
	if err != nil {
		r.metrics.commitErrors.Inc()
		r.log.Error("registrations are not stored", "error", err)
	}
	for _, b := range batches {
		for _, a := range b.answers {
			fault := r.contain("answer to a REGISTER from "+a.tx.Flow().Remote().String(), func() error {
				r.respond(a, err)
				return nil
			})
			if fault != nil {
				r.refuse(a.tx, fault)
			}
		}
		b.slow.Stop()
		b.release()
		for _, w := range b.waiting {
			w.tell <- done{w.notes, err}
		}
	}
}

// respond answers a REGISTER: 200 only if it is stored.
func (r *Registrar) respond(a answer, stored error) {
	if stored != nil {
		a.tx.Reject(sipua.Reject(503, "Not Stored", sipua.HeaderLine{Name: "Retry-After", Value: "10"}))
		return
	}
	res := a.tx.NewResponse(200, "")
	for _, h := range r.headers(a) {
		res.AppendHeader(h)
	}
	if err := a.tx.Respond(res); err != nil {
		r.log.Info("answer REGISTER", "aor", a.reg.aor.String(), "error", err)
	}
	r.metrics.accepted.Inc()
}
