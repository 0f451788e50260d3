package apns

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"
)

// pollEvery is how often files are looked at unless Config says otherwise.
// Asking for the times of a handful of files costs nothing, works on every
// file system and with files that are replaced by a rename.
const pollEvery = 30 * time.Second

const day = 24 * time.Hour

// warnings are when an expiry is told of, beforehand. Apple takes a day at
// most to make a new certificate, people take longer.
func warnings() []time.Duration { return []time.Duration{30 * day, 14 * day, 7 * day, day, 0} }

// identity is a certificate in use, which its file may replace.
type identity struct {
	value atomic.Pointer[Certificate]
	uses  []string // topics that it must cover; fixed once the keeper runs
}

func (i *identity) current() *Certificate { return i.value.Load() }

// replace puts another certificate to use if it can do what the old one does.
func (i *identity) replace(c Certificate) error {
	for _, topic := range i.uses {
		if !c.Covers(topic) {
			return fmt.Errorf("%s is not for the topic %s: %w", c, topic, ErrBadCertificate)
		}
	}
	if left := time.Until(c.NotAfter()); left <= 0 {
		return fmt.Errorf("%s expired on %s: %w", c, c.NotAfter().Format(time.DateOnly), ErrBadCertificate)
	}
	if old := i.current(); old.Environment != c.Environment {
		return fmt.Errorf("%s is for another environment than the one before, restart to use it: %w", c, ErrBadCertificate)
	}
	i.value.Store(&c)
	return nil
}

// keeper reads credentials again when their files change, and tells of
// certificates that are about to expire. All is added before run.
type keeper struct {
	every    time.Duration
	log      *slog.Logger
	files    []*watched
	expiries []*expiry
}

// watched is a credential's file.
type watched struct {
	origin origin       // as last read
	load   func() error // reads it and puts it to use
}

// expiry is the end of a certificate.
type expiry struct {
	cert  *identity
	shown func(float64) // UNIX seconds
	end   time.Time     // the one that told counts for
	told  int           // of warnings
}

// watch has load called when the files of o change; without a file never.
func (k *keeper) watch(o origin, load func() error) {
	if o.file != "" {
		k.files = append(k.files, &watched{o, load})
	}
}

// expires has the end of a certificate shown and told of.
func (k *keeper) expires(cert *identity, shown func(float64)) {
	shown(float64(cert.current().NotAfter().Unix()))
	for _, e := range k.expiries {
		if e.cert == cert { // one certificate for both kinds: told once
			other := e.shown
			e.shown = func(at float64) { other(at); shown(at) }
			return
		}
	}
	k.expiries = append(k.expiries, &expiry{cert: cert, shown: shown})
}

// run works until ctx ends.
func (k *keeper) run(ctx context.Context) {
	if len(k.files)+len(k.expiries) == 0 {
		return
	}
	ticker := time.NewTicker(k.every)
	defer ticker.Stop()
	for {
		for _, w := range k.files {
			k.look(w)
		}
		for _, e := range k.expiries {
			k.tell(e)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look reads a credential again if its file changed. What cannot be used leaves
// the old one as it is, and is told of once for each change.
func (k *keeper) look(w *watched) {
	state := w.origin.look()
	if state == w.origin.state {
		return
	}
	w.origin.state = state
	if err := w.load(); err != nil {
		k.log.Error("a credential's file changed and cannot be used; the old one stays", "file", w.origin.file, "err", err)
		return
	}
	k.log.Info("a credential's file changed and is in use", "file", w.origin.file)
}

// tell warns of an expiry when another of the warnings is due.
func (k *keeper) tell(e *expiry) {
	cert := e.cert.current()
	end := cert.NotAfter()
	if !end.Equal(e.end) {
		e.end, e.told = end, 0
		e.shown(float64(end.Unix()))
	}
	left, due := time.Until(end), 0
	for _, before := range warnings() {
		if left <= before {
			due++
		}
	}
	if due <= e.told {
		return
	}
	e.told = due
	attrs := []any{"certificate", cert.String(), "topics", e.cert.uses, "expires", end.UTC()}
	if left <= 0 {
		k.log.Error("a push certificate has expired: nothing is sent with it", attrs...)
		return
	}
	days := int(math.Ceil(left.Hours() / day.Hours()))
	k.log.Warn("a push certificate expires soon: make a new one and replace its file", append(attrs, "days", days)...)
}
