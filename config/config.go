package config

import (
	"net/netip"
	"time"
)

// Config is a whole configuration. One that Load returned is complete and
// consistent: defaults are filled in, secrets are read from their files, and
// paths are absolute or relative to the working directory.
type Config struct {
	// Node names this instance and its folder.
	Node Node `mapstructure:"node"`
	// Log is the program's log.
	Log Log `mapstructure:"log"`
	// Listen has one entry per SIP socket. Default: udp and tcp on 0.0.0.0:5060.
	Listen []Listener `mapstructure:"listen"`
	// Network says what peers on other networks see of us.
	Network Network `mapstructure:"network"`
	// Media is the RTP relay.
	Media Media `mapstructure:"media"`
	// Domains are the SIP domains served, with their users. Default: none.
	Domains []Domain `mapstructure:"domains"`
	// Trunks are the links to PBXs and carriers. Default: none.
	Trunks []Trunk `mapstructure:"trunks"`
	// Routes are tried in order after the built-in rule that a called number
	// belongs to its user; the first that matches wins. Default: none.
	Routes []Route `mapstructure:"routes"`
	// Calls holds the deadlines and policies of a call.
	Calls Calls `mapstructure:"calls"`
	// Push says how sleeping phones are woken.
	Push Push `mapstructure:"push"`
	// Storage is where devices and records are kept.
	Storage Storage `mapstructure:"storage"`
	// Limits are the rates and counts beyond which requests are refused.
	Limits Limits `mapstructure:"limits"`
	// Capture writes calls into files.
	Capture Capture `mapstructure:"capture"`
	// HTTP is the port for health, metrics and the API.
	HTTP HTTP `mapstructure:"http"`

	// Warnings are what Load found that keeps nothing from working today: a
	// certificate that ends soon, a secret that others may read.
	Warnings []Fault `mapstructure:"-"`
}

// Node names this instance and its folder.
type Node struct {
	// ID is the name of this instance: letters, digits, dot, dash, underscore,
	// at most 64. It ends the Call-IDs we make. Empty means the host name.
	// Default: "".
	ID string `mapstructure:"id"`
	// DataDir is the folder of the database, made with mode 0700 if missing.
	// Default: ./data.
	DataDir string `mapstructure:"data_dir" config:"path,required"`
}

// Log is the program's log.
type Log struct {
	// Level is the least important level that is written. Default: info.
	Level string `mapstructure:"level" oneof:"debug|info|warn|error"`
	// Format is auto (text on a terminal, else json), text or json.
	// Default: auto.
	Format string `mapstructure:"format" oneof:"auto|text|json"`
}

// Listener is one SIP socket.
type Listener struct {
	// Transport is udp, tcp or tls. Default: none, it must be given.
	Transport string `mapstructure:"transport" config:"required" oneof:"udp|tcp|tls"`
	// Bind is the address and port listened on; port 0 takes a free one.
	// Default: none, it must be given.
	Bind netip.AddrPort `mapstructure:"bind" config:"required"`
	// CertFile is the PEM certificate chain of a tls listener. Default: "".
	CertFile string `mapstructure:"cert_file" config:"path"`
	// KeyFile is the PEM private key of a tls listener. Default: "".
	KeyFile string `mapstructure:"key_file" config:"path"`
}

// Addresses is an address per family; a zero address means "as bound".
type Addresses struct {
	// V4 is an IPv4 address. Default: "".
	V4 netip.Addr `mapstructure:"v4"`
	// V6 is an IPv6 address. Default: "".
	V6 netip.Addr `mapstructure:"v6"`
}

// Network says what peers outside LocalNet see of us.
type Network struct {
	// ExternalSignalingAddress is what Via and Contact show to them.
	ExternalSignalingAddress Addresses `mapstructure:"external_signaling_address"`
	// ExternalMediaAddress is what SDP shows to them.
	ExternalMediaAddress Addresses `mapstructure:"external_media_address"`
	// LocalNet are the networks that see our real addresses. Default: the
	// private ranges, 100.64.0.0/10 and loopback.
	LocalNet []netip.Prefix `mapstructure:"local_net"`
}

// Media is the RTP relay.
type Media struct {
	// Bind are the addresses of the relay's sockets, one per family.
	// Default: 0.0.0.0.
	Bind []netip.Addr `mapstructure:"bind"`
	// RTPStart is the first port of the relay, even. Default: 10000.
	RTPStart int `mapstructure:"rtp_start" range:"1024..65534"`
	// RTPEnd is the last port of the relay. Default: 20000.
	RTPEnd int `mapstructure:"rtp_end" range:"1025..65535"`
	// Allow is the codec order and filter; when empty, everything passes as
	// offered. Default: empty.
	Allow []string `mapstructure:"allow" oneof:"opus|g722|alaw|ulaw|g729|g723|gsm|ilbc|speex|amr|amr-wb|evs|l16|cn|telephone-event|h263|h264|h265|vp8|vp9|av1"`
	// DTMF is how keys go to whom they are for. auto: as RTP events (RFC 4733) where
	// both sides of its leg agreed on them, else by SIP INFO where it takes that; what
	// comes the other way is converted. So that it can be, events are offered for a
	// caller who takes INFO and has none, and accepted for a callee of that sort.
	// rfc4733: as events only; INFO is converted where events were agreed, else
	// refused, and never sent. info: by INFO to whoever takes it, else as events.
	// Default: auto.
	DTMF string `mapstructure:"dtmf" oneof:"auto|rfc4733|info"`
	// SRTP says who speaks SRTP.
	SRTP SRTP `mapstructure:"srtp"`
	// Workers is how many workers relay the packets; 0 is one per core.
	// Default: 0.
	Workers int `mapstructure:"workers" range:"0..256"`
	// Ringback is what a caller hears while a phone is woken: none (a 180, its own
	// tone), the tone of eu, uk or us, or a WAV file of 8 kHz mono 16-bit PCM, which
	// is repeated. Default: none.
	Ringback string `mapstructure:"ringback" config:"path,required" oneof:"none|eu|uk|us"`
	// RingbackSound is the sound that Ringback means, at 8 kHz, nil for none; Load
	// fills it.
	RingbackSound []int16 `mapstructure:"-"`
	// Timeout says when a call without media ends.
	Timeout MediaTimeout `mapstructure:"timeout"`
}

// SRTP says who speaks SRTP, by keys in SDP (RFC 4568). off: plain RTP only.
// optional: SRTP is offered first, and answered where it is offered. required:
// nothing else.
type SRTP struct {
	// Apps is for users' apps. Default: optional.
	Apps string `mapstructure:"apps" oneof:"off|optional|required"`
	// Trunks is for trunks. Default: off.
	Trunks string `mapstructure:"trunks" oneof:"off|optional|required"`
	// KeysOver is tls, or any: then keys also go over UDP and TCP, where others can
	// read them. Default: tls.
	KeysOver string `mapstructure:"keys_over" oneof:"tls|any"`
}

// MediaTimeout says when a call without media ends.
type MediaTimeout struct {
	// FirstPacket counts from the answer until the first RTP packet.
	// Default: 30s.
	FirstPacket time.Duration `mapstructure:"first_packet" range:"1s..1h"`
	// Silence counts from the last RTP packet. Default: 60s.
	Silence time.Duration `mapstructure:"silence" range:"1s..1d"`
	// Hold counts from the last RTP or RTCP packet, or re-INVITE, of a call on hold. 0s: a
	// hold may last as long as the call. Default: 30m.
	Hold time.Duration `mapstructure:"hold" range:"0s..7d"`
}

// Storage is where devices and records are kept.
type Storage struct {
	// Driver is sqlite: a database in Node.DataDir. Default: sqlite.
	Driver string `mapstructure:"driver" oneof:"sqlite" later:"redis"`
}

// Capture writes what is on the wire of calls into pcapng files, one per call, in the
// folder captures of Node.DataDir.
type Capture struct {
	// Calls says which: off, failed (not answered, ended by a fault, or one leg sent
	// no media) or all. Default: off.
	Calls string `mapstructure:"calls" oneof:"off|failed|all"`
	// Packets says how much of RTP: headers, or all, which is what was said.
	// Default: headers.
	Packets string `mapstructure:"packets" oneof:"headers|all"`
	// Decrypt writes what SRTP holds; else it stays encrypted. Default: false.
	Decrypt bool `mapstructure:"decrypt"`
	// Keep is how long after its call a file is kept. Default: 7d.
	Keep time.Duration `mapstructure:"keep" range:"1h..365d"`
	// MaxBytes bounds all files together; the oldest go first. One call may take a
	// sixteenth. Default: 1GiB.
	MaxBytes Size `mapstructure:"max_bytes" range:"16MiB..1024TiB"`
}

// HTTP is the port for health, metrics and the API.
type HTTP struct {
	// Bind is the address and port. Beyond loopback it needs TokenFile.
	// Default: 127.0.0.1:8080.
	Bind netip.AddrPort `mapstructure:"bind"`
	// TokenFile holds the bearer token that requests must carry, at least 16
	// characters. Default: "".
	TokenFile string `mapstructure:"token_file" config:"path"`
	// Token is what TokenFile holds; Load fills it.
	Token Secret `mapstructure:"-"`
}
