package softphone

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/srtp/v3"
)

// Security says whether a phone speaks SRTP, by keys in SDP (RFC 4568).
type Security uint8

// The kinds of phones there are.
const (
	SRTPAnswered Security = iota // offers RTP, answers SRTP where that is offered
	SRTPOffered                  // offers SRTP, answers what is offered
	SRTPOnly                     // takes nothing else
	SRTPNever                    // RTP only
)

// Suites are the names of the crypto suites that a phone knows, as it offers them.
func Suites() []string {
	return []string{"AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32",
		"AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}
}

func profileOf(suite string) (srtp.ProtectionProfile, bool) {
	switch suite {
	case "AEAD_AES_256_GCM":
		return srtp.ProtectionProfileAeadAes256Gcm, true
	case "AEAD_AES_128_GCM":
		return srtp.ProtectionProfileAeadAes128Gcm, true
	case "AES_256_CM_HMAC_SHA1_80":
		return srtp.ProtectionProfileAes256CmHmacSha1_80, true
	case "AES_256_CM_HMAC_SHA1_32":
		return srtp.ProtectionProfileAes256CmHmacSha1_32, true
	case "AES_CM_128_HMAC_SHA1_80":
		return srtp.ProtectionProfileAes128CmHmacSha1_80, true
	case "AES_CM_128_HMAC_SHA1_32":
		return srtp.ProtectionProfileAes128CmHmacSha1_32, true
	}
	return 0, false
}

// master is the master key and salt of one direction; the zero master is that of
// plain RTP. It is a secret.
type master struct {
	suite string
	tag   string // of its a=crypto
	key   string // key, then salt
}

// context makes pion's for a master.
func (k master) context() (*srtp.Context, error) {
	profile, ok := profileOf(k.suite)
	if !ok {
		return nil, fmt.Errorf("crypto suite %q: %w", k.suite, ErrMedia)
	}
	n, err := profile.KeyLen()
	if err != nil || len(k.key) < n {
		return nil, fmt.Errorf("key of %d octets for %s: %w", len(k.key), k.suite, ErrMedia)
	}
	c, err := srtp.CreateContext([]byte(k.key[:n]), []byte(k.key[n:]), profile, srtp.SRTPReplayProtection(64))
	if err != nil {
		return nil, fmt.Errorf("key for %s: %w", k.suite, ErrMedia)
	}
	return c, nil
}

// newMaster makes a random one.
func newMaster(suite string) (master, error) {
	profile, ok := profileOf(suite)
	if !ok {
		return master{}, fmt.Errorf("crypto suite %q: %w", suite, ErrMedia)
	}
	n, err := profile.KeyLen()
	if err != nil {
		return master{}, fmt.Errorf("crypto suite %q: %w", suite, err)
	}
	m, err := profile.SaltLen()
	if err != nil {
		return master{}, fmt.Errorf("crypto suite %q: %w", suite, err)
	}
	b := make([]byte, n+m)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return master{suite: suite, key: string(b)}, nil
}

// crypto is what a call has of keys. It belongs to the loop, but for conn.
type crypto struct {
	security Security
	suites   []string
	made     map[string]master // ours by suite
	theirs   master            // as agreed
	agreed   bool              // with the peer, on SRTP or on RTP
	asked    bool              // our last offer was SRTP
	conn     *secureConn
}

func newCrypto(cfg AudioConfig, conn net.PacketConn) *crypto {
	suites := cfg.Suites
	if len(suites) == 0 {
		suites = Suites()
	}
	return &crypto{security: cfg.Security, suites: suites, made: make(map[string]master), conn: &secureConn{PacketConn: conn}}
}

// ours is our key for a suite, always the same one until rekey.
func (c *crypto) ours(suite string) (master, error) {
	if k, ok := c.made[suite]; ok {
		return k, nil
	}
	k, err := newMaster(suite)
	if err == nil {
		c.made[suite] = k
	}
	return k, err
}

// rekey forgets our keys: the next offer has others.
func (c *crypto) rekey() { clear(c.made) }

// offer adds our keys to a stream that we offer. A call keeps to what was agreed.
func (c *crypto) offer(md *sdp.MediaDescription) error {
	if c.agreed && c.theirs.suite == "" || !c.agreed && c.security != SRTPOffered && c.security != SRTPOnly {
		c.asked = false
		return nil
	}
	c.asked = true
	if !c.agreed {
		c.conn.awaitKeys()
	}
	md.MediaName.Protos = []string{"RTP", "SAVP"}
	for i, suite := range c.suites {
		k, err := c.ours(suite)
		if err != nil {
			return err
		}
		k.tag = strconv.Itoa(i + 1)
		k.write(md)
	}
	return nil
}

func (k master) write(md *sdp.MediaDescription) {
	md.WithValueAttribute("crypto", k.tag+" "+k.suite+" inline:"+base64.StdEncoding.EncodeToString([]byte(k.key)))
}

// answer adds our key to a stream that answers one with the peer's key.
func (c *crypto) answer(md *sdp.MediaDescription, theirs master) error {
	if theirs.suite == "" {
		return nil
	}
	md.MediaName.Protos = []string{"RTP", "SAVP"}
	k, err := c.ours(theirs.suite)
	if err != nil {
		return err
	}
	k.tag = theirs.tag
	k.write(md)
	return nil
}

// read takes the peer's key from its stream: the first whose suite is ours; zero for
// plain RTP. Errors wrap ErrMedia.
func (c *crypto) read(md *sdp.MediaDescription) (master, error) {
	switch proto := strings.Join(md.MediaName.Protos, "/"); {
	case proto == "RTP/AVP" && c.security != SRTPOnly:
		return master{}, nil
	case proto != "RTP/SAVP" || c.security == SRTPNever:
		return master{}, fmt.Errorf("m=%s: %w: %w", md.MediaName.String(), ErrMedia, errStream)
	}
	for _, a := range md.Attributes {
		f := strings.Fields(a.Value)
		if a.Key != "crypto" || len(f) != 3 || !slices.Contains(c.suites, f[1]) {
			continue
		}
		text, found := strings.CutPrefix(f[2], "inline:")
		text, _, _ = strings.Cut(text, "|")
		if key, err := base64.StdEncoding.DecodeString(text); err == nil && found {
			return master{suite: f[1], tag: f[0], key: string(key)}, nil
		}
	}
	return master{}, fmt.Errorf("no usable a=crypto: %w", ErrMedia)
}

// offered checks that an answer takes one of the keys that we offered, if we did.
func (c *crypto) offered(theirs master) error {
	if c.asked != (theirs.suite != "") {
		return fmt.Errorf("the answer changes the profile: %w", ErrMedia)
	}
	if i := slices.Index(c.suites, theirs.suite); theirs.suite != "" && theirs.tag != strconv.Itoa(i+1) {
		return fmt.Errorf("crypto tag %s for %s: %w", theirs.tag, theirs.suite, ErrMedia)
	}
	return nil
}

// agree makes the connection speak as was agreed. What was counted under a key that
// stays goes on.
func (c *crypto) agree(theirs master) error {
	var ours master
	if theirs.suite != "" {
		var err error
		if ours, err = c.ours(theirs.suite); err != nil {
			return err
		}
	}
	if err := c.conn.use(ours, theirs); err != nil {
		return err
	}
	c.theirs, c.agreed = theirs, true
	return nil
}

// secureConn is a socket whose packets are RTP inside and may be SRTP outside. Its
// methods may be called from any goroutine.
type secureConn struct {
	net.PacketConn

	mu            sync.Mutex
	ours, theirs  master
	out, in       *srtp.Context // nil: plain RTP
	outHeader     rtp.Header
	inHeader      rtp.Header
	refused       uint64 // packets that were not authentic
	deaf          bool   // SRTP was offered, and its key is not known yet: nothing can be believed
	sealed, space []byte
}

func (c *secureConn) use(ours, theirs master) error {
	ours.tag, theirs.tag = "", ""
	c.mu.Lock()
	defer c.mu.Unlock()
	out, in := c.out, c.in
	var err error
	if ours != c.ours {
		if out, err = contextOf(ours); err != nil {
			return err
		}
	}
	if theirs != c.theirs {
		if in, err = contextOf(theirs); err != nil {
			return err
		}
	}
	c.ours, c.theirs, c.out, c.in, c.deaf = ours, theirs, out, in, false
	return nil
}

// awaitKeys drops what comes until use.
func (c *secureConn) awaitKeys() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = true
}

func contextOf(k master) (*srtp.Context, error) {
	if k.suite == "" {
		return nil, nil //nolint:nilnil // plain RTP has none
	}
	return k.context()
}

// WriteTo implements net.PacketConn.
func (c *secureConn) WriteTo(b []byte, to net.Addr) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil {
		return c.PacketConn.WriteTo(b, to) //nolint:wrapcheck // as the socket says it
	}
	sealed, err := c.out.EncryptRTP(c.sealed[:0], b, &c.outHeader)
	if err != nil {
		return 0, fmt.Errorf("protect RTP: %w", err)
	}
	c.sealed = sealed
	if _, err := c.PacketConn.WriteTo(sealed, to); err != nil {
		return 0, err //nolint:wrapcheck // as the socket says it
	}
	return len(b), nil
}

// ReadFrom implements net.PacketConn. It passes over what is not authentic.
func (c *secureConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err //nolint:wrapcheck // as the socket says it
		}
		if n, ok := c.open(b, n); ok {
			return n, from, nil
		}
	}
}

// open makes RTP of the n octets in b, in place.
func (c *secureConn) open(b []byte, n int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		return n, !c.deaf
	}
	plain, err := c.in.DecryptRTP(c.space[:0], b[:n], &c.inHeader)
	if err != nil {
		c.refused++
		return 0, false
	}
	c.space = plain
	return copy(b, plain), true
}

// state is the suite in use, "" for plain RTP, and how many packets were refused.
func (c *secureConn) state() (suite string, refused uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.theirs.suite, c.refused
}
