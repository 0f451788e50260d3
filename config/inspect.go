package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// inspect applies the rules that a single value's type does not express: those
// that span keys, and those about files. It also reads the secrets' files.
func inspect(cfg *Config, found *findings) {
	in := &inspector{cfg: cfg, findings: found}
	in.node()
	in.listeners()
	in.network()
	in.media()
	in.domains()
	in.trunks()
	in.routes()
	in.push()
	in.http()
	in.asleep()
}

// asleep warns of a server that wakes nobody.
func (in *inspector) asleep() {
	users := slices.ContainsFunc(in.cfg.Domains, func(d Domain) bool { return len(d.Users) > 0 })
	if users && len(in.cfg.Push.Apps) == 0 {
		in.warn(in.first("push.apps", "push", "domains"), "push.apps is empty: no sleeping phone is woken", "add an entry for the app, with its key")
	}
}

// inspector holds what the rules share.
type inspector struct {
	cfg *Config
	*findings
}

func (in *inspector) node() {
	if id := in.cfg.Node.ID; id != "" && !regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`).MatchString(id) {
		in.at("node.id", strconv.Quote(id)+" cannot end a Call-ID", "use letters, digits, dot, dash and underscore, at most 64")
	}
}

func (in *inspector) listeners() {
	if len(in.cfg.Listen) == 0 {
		in.at("listen", "is empty: there is nothing to listen on", "add an entry, or remove the key for the default")
	}
	for i, l := range in.cfg.Listen {
		path := fmt.Sprintf("listen[%d]", i)
		if l.Transport == "" {
			continue // reported; what the other keys are for depends on it
		}
		for j, other := range in.cfg.Listen[:i] {
			if (l.Transport == "udp") == (other.Transport == "udp") && collide(l.Bind, other.Bind) {
				in.at(path+".bind", fmt.Sprintf("%s is taken by listen[%d] (%s)", l.Bind, j, other.Transport),
					"give each listener its own port")
			}
		}
		if l.Transport == "udp" {
			in.signalling(l.Bind, path)
		} else if collide(l.Bind, in.cfg.HTTP.Bind) {
			in.at(path+".bind", l.Bind.String()+" is taken by http.bind", "give one of them another port")
		}
		if l.Transport != "tls" {
			in.unwanted(path+".cert_file", l.CertFile, "is for tls only")
			in.unwanted(path+".key_file", l.KeyFile, "is for tls only")
			continue
		}
		haveChain := in.needed(path+".cert_file", l.CertFile, "a tls listener needs its certificate chain")
		haveKey := in.needed(path+".key_file", l.KeyFile, "a tls listener needs its private key")
		if haveChain && haveKey {
			in.certificate(l, path)
		}
	}
}

// signalling keeps a UDP listener out of the relay's ports.
func (in *inspector) signalling(bind netip.AddrPort, path string) {
	port := int(bind.Port())
	if port < in.cfg.Media.RTPStart || port > in.cfg.Media.RTPEnd {
		return
	}
	in.at(path+".bind", fmt.Sprintf("port %d lies within media.rtp_start..rtp_end (%d..%d)",
		port, in.cfg.Media.RTPStart, in.cfg.Media.RTPEnd), "move one of them")
}

// needed reports an empty value.
func (in *inspector) needed(path, value, problem string) bool {
	if value == "" {
		in.at(path, "is missing: "+problem, "add "+path[strings.LastIndexByte(path, '.')+1:])
	}
	return value != ""
}

// unwanted reports a value that has no effect.
func (in *inspector) unwanted(path, value, problem string) {
	if value != "" {
		in.at(path, problem, "remove the key")
	}
}

// collide says that two sockets cannot both exist: same port, and the same or
// an unspecified address of one family.
func collide(a, b netip.AddrPort) bool {
	if !a.IsValid() || !b.IsValid() || a.Port() == 0 || a.Port() != b.Port() || a.Addr().Is4() != b.Addr().Is4() {
		return false
	}
	return a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified()
}

func (in *inspector) network() {
	n := in.cfg.Network
	for path, pair := range map[string]Addresses{
		"network.external_signaling_address": n.ExternalSignalingAddress,
		"network.external_media_address":     n.ExternalMediaAddress,
	} {
		if pair.V4.IsValid() && !pair.V4.Is4() {
			in.at(path+".v4", pair.V4.String()+" is an IPv6 address", "write it at v6")
		}
		if pair.V6.IsValid() && !pair.V6.Is6() {
			in.at(path+".v6", pair.V6.String()+" is an IPv4 address", "write it at v4")
		}
		for key, addr := range map[string]netip.Addr{".v4": pair.V4, ".v6": pair.V6} {
			if addr.IsValid() && (addr.IsUnspecified() || addr.IsMulticast()) {
				in.at(path+key, addr.String()+" is no address that a peer can send to",
					`write the public address, or "" to show the address we are bound to`)
			}
		}
	}
}

func (in *inspector) media() {
	m := in.cfg.Media
	if len(m.Bind) == 0 {
		in.at("media.bind", "is empty", `write ["0.0.0.0"]`)
	}
	for i, addr := range m.Bind {
		for _, other := range m.Bind[:i] {
			if addr.IsValid() && other.IsValid() && addr.Is4() == other.Is4() {
				in.at(fmt.Sprintf("media.bind[%d]", i), fmt.Sprintf("%s and %s are of one family", other, addr),
					"give one address per family")
			}
		}
		if addr.IsMulticast() {
			in.at(fmt.Sprintf("media.bind[%d]", i), addr.String()+" is a multicast address", "write an address of this host")
		}
	}
	in.unique("media.allow", m.Allow)
	if m.RTPStart%2 != 0 {
		in.at("media.rtp_start", fmt.Sprintf("%d is odd", m.RTPStart), "choose an even port: RTP takes it, RTCP the next")
	}
	const fewest = 4 // one call: two legs with RTP and RTCP each
	if m.RTPEnd-m.RTPStart+1 < fewest {
		in.at(in.first("media.rtp_end", "media.rtp_start"),
			fmt.Sprintf("the range %d..%d is too small for one call", m.RTPStart, m.RTPEnd),
			"choose rtp_end well above rtp_start, four ports per call")
	}
	in.srtp()
	in.ringback()
}

// srtp reports who must speak SRTP but can never be told a key.
func (in *inspector) srtp() {
	s := in.cfg.Media.SRTP
	if s.KeysOver != "tls" {
		return
	}
	tls := slices.ContainsFunc(in.cfg.Listen, func(l Listener) bool { return l.Transport == "tls" })
	if s.Apps == "required" && !tls {
		in.at("media.srtp.apps", "is required, but apps cannot be told keys: there is no tls listener",
			"add one to listen, or set media.srtp.keys_over: any")
	}
	if s.Trunks == "required" && !tls {
		in.at("media.srtp.trunks", "is required, but trunks cannot be told keys: there is no tls listener",
			"add one to listen, or set media.srtp.keys_over: any")
	}
}

// unique reports values that a list has twice.
func (in *inspector) unique(path string, values []string) {
	for i, value := range values {
		if slices.Contains(values[:i], value) && value != "" {
			in.at(fmt.Sprintf("%s[%d]", path, i), strconv.Quote(value)+" is listed twice", "remove one")
		}
	}
}

// ordered reports bounds that are not in order.
func (in *inspector) ordered(path string, e Expires) {
	if e.Min > e.Default {
		in.at(in.first(path+".min", path+".default"),
			FormatDuration(e.Min)+" is longer than default, "+FormatDuration(e.Default), "keep min <= default <= max")
	}
	if e.Default > e.Max {
		in.at(in.first(path+".max", path+".default"),
			FormatDuration(e.Max)+" is shorter than default, "+FormatDuration(e.Default), "keep min <= default <= max")
	}
}

func (in *inspector) http() {
	h := &in.cfg.HTTP
	if !h.Bind.IsValid() {
		in.at("http.bind", "is empty", "write 127.0.0.1:8080")
		return
	}
	if h.TokenFile == "" {
		if !h.Bind.Addr().IsLoopback() {
			in.at(in.first("http.bind", "http.token_file"), h.Bind.String()+" can be reached from other hosts, and http.token_file is not set",
				"bind 127.0.0.1, or set http.token_file to a file with a long random token")
		}
		return
	}
	h.Token = in.secretFile("http.token_file", h.TokenFile)
	const shortest = 16
	if token := h.Token.Reveal(); token != "" && len(token) < shortest {
		in.at("http.token_file", fmt.Sprintf("holds a token of %d characters", len(token)),
			"use at least 16, for example from: openssl rand -hex 32")
	}
}
