package apnssim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Network is how badly accepted pushes fare on their way to devices. The
// probabilities are 0 to 1; the zero value is a good network.
type Network struct {
	// Lose drops a push for good, although it was answered 200.
	Lose float64
	// Duplicate delivers a push twice, as one apns-id.
	Duplicate float64
	// Reorder sends a push on a way that takes ReorderBy longer (0: 2 s), so that
	// those sent meanwhile arrive before it.
	Reorder   float64
	ReorderBy time.Duration
	// LateZero is a fault of Apple's (developer forum, thread 795610): a push that
	// must not be stored, or has expired, is kept all the same and delivered
	// LateBy after the device came back (0: 25 s).
	LateZero float64
	LateBy   time.Duration
}

const (
	reorderBy = 2 * time.Second
	lateBy    = 25 * time.Second
)

func (n Network) valid() error {
	for _, p := range []float64{n.Lose, n.Duplicate, n.Reorder, n.LateZero} {
		if !(p >= 0 && p <= 1) { // NaN is neither
			return fmt.Errorf("%w: a probability is from 0 to 1, not %v", ErrBadNetwork, p)
		}
	}
	if n.ReorderBy < 0 || n.LateBy < 0 {
		return fmt.Errorf("%w: negative time", ErrBadNetwork)
	}
	return nil
}

func (n Network) withDefaults() Network {
	if n.ReorderBy == 0 {
		n.ReorderBy = reorderBy
	}
	if n.LateBy == 0 {
		n.LateBy = lateBy
	}
	return n
}

// network rolls the dice for each push.
type network struct {
	mu   sync.Mutex
	set  Network
	dice *rand.Rand
}

func newNetwork(set Network, seed uint64) *network {
	return &network{set: set.withDefaults(), dice: rand.New(rand.NewPCG(seed, 0xd1b54a32d192ed03))}
}

// journey is what the network does to one push.
type journey struct {
	lost, twice bool
	hold        time.Duration // longer than others
	late        time.Duration // delivered so long after the device's return; 0: never when expired
}

func (n *network) roll() journey {
	n.mu.Lock()
	defer n.mu.Unlock()
	var j journey
	j.lost = n.hit(n.set.Lose)
	j.twice = n.hit(n.set.Duplicate)
	if n.hit(n.set.Reorder) {
		j.hold = n.set.ReorderBy
	}
	if n.hit(n.set.LateZero) {
		j.late = n.set.LateBy
	}
	return j
}

func (n *network) hit(p float64) bool { return p > 0 && n.dice.Float64() < p }

// SetNetwork changes the network for pushes accepted from now on.
// Errors: ErrBadNetwork.
func (s *Sim) SetNetwork(n Network) error {
	if err := n.valid(); err != nil {
		return err
	}
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	s.network.set = n.withDefaults()
	return nil
}

// Network returns what SetNetwork or Config set, with the defaults filled in.
func (s *Sim) Network() Network {
	s.network.mu.Lock()
	defer s.network.mu.Unlock()
	return s.network.set
}
