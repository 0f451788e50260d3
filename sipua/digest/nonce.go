package digest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// nonceID is a nonce without its proof: the time it was issued, in microseconds,
// and eight random bytes, so that no two challenges share a nonce count.
type nonceID [16]byte

func (id nonceID) issued() time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(id[:8])))
}

const proofSize = 16

// minter makes nonces and knows its own again.
type minter struct {
	key   [32]byte
	realm string
}

func newMinter(realm string) (*minter, error) {
	m := &minter{realm: realm}
	if _, err := rand.Read(m.key[:]); err != nil {
		return nil, fmt.Errorf("nonce key: %w", err)
	}
	return m, nil
}

func (m *minter) mint(now time.Time) string {
	var id nonceID
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMicro()))
	// crypto/rand.Read never fails (it ends the program instead).
	_, _ = rand.Read(id[8:])
	return base64.RawURLEncoding.EncodeToString(append(id[:], m.proof(id)...))
}

// read gives the id of a nonce that this minter made; ok is false for any other.
func (m *minter) read(nonce string) (id nonceID, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != len(id)+proofSize {
		return nonceID{}, false
	}
	copy(id[:], raw)
	return id, hmac.Equal(raw[len(id):], m.proof(id))
}

func (m *minter) proof(id nonceID) []byte {
	h := hmac.New(sha256.New, m.key[:])
	h.Write(id[:])
	h.Write([]byte(m.realm))
	return h.Sum(nil)[:proofSize]
}

// decoy is an HA1 for a user that does not exist: no password has it, and it is
// the same each time.
func (m *minter) decoy(a Algorithm, username string) string {
	h := hmac.New(sha256.New, m.key[:])
	h.Write([]byte(username))
	return a.sum(string(h.Sum(nil)))
}

// counter remembers the highest nonce count of each nonce in use. It is bounded:
// when it forgets a nonce it also gives up every unused one that is as old, since
// those can no longer be told from the forgotten. Only right digests enter, so
// nobody without a password can make it forget.
type counter struct {
	mu sync.Mutex
	// seen maps a nonce to the highest count that was accepted.
	seen *simplelru.LRU[nonceID, uint32]
	// forgotten is the issue time of the youngest nonce that was dropped.
	forgotten time.Time
}

func newCounter(size int) (*counter, error) {
	c := &counter{}
	lru, err := simplelru.NewLRU(size, func(id nonceID, _ uint32) {
		// Called by Add below, under mu.
		if id.issued().After(c.forgotten) {
			c.forgotten = id.issued()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("nonce counter of size %d: %w", size, err)
	}
	c.seen = lru
	return c, nil
}

// accept says whether count is higher than every count of that nonce before, and
// takes it if so.
func (c *counter) accept(id nonceID, count uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.seen.Get(id)
	if known && count <= last || !known && !id.issued().After(c.forgotten) || count == 0 {
		return false
	}
	c.seen.Add(id, count)
	return true
}
