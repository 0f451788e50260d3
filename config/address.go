package config

import (
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// parseAddress reads an address, an address with port, or a network. An empty
// text is the zero value; a required key has been refused before.
func parseAddress(text string, f field) (any, *finding) {
	switch f.typ {
	case reflect.TypeFor[netip.AddrPort]():
		return parseAddrPort(text)
	case reflect.TypeFor[netip.Prefix]():
		return parsePrefix(text)
	}
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return nil, &finding{strconv.Quote(text) + " is not an IP address", `write for example "203.0.113.10" or "2001:db8::10"`}
	}
	return addr.Unmap(), nil
}

func parseAddrPort(text string) (any, *finding) {
	bind, err := netip.ParseAddrPort(text)
	if err == nil && bind.Addr().Zone() == "" {
		return netip.AddrPortFrom(bind.Addr().Unmap(), bind.Port()), nil
	}
	cure := `write for example "0.0.0.0:5060" or "[::]:5060"`
	if host, port, cut := strings.Cut(text, ":"); cut && (host == "" || host == "*") {
		cure = "write 0.0.0.0:" + port + " for every IPv4 address, [::]:" + port + " for every IPv6 address"
	} else if host == "localhost" {
		cure = "write 127.0.0.1:" + port
	}
	return nil, &finding{strconv.Quote(text) + " is not an IP address with a port", cure}
}

func parsePrefix(text string) (any, *finding) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, &finding{strconv.Quote(text) + " is not an IP address or network",
			`write for example "10.0.0.5" or "10.0.0.0/24"`}
	}
	if prefix.Addr().Is4In6() {
		return nil, &finding{text + " is an IPv4 network in IPv6 notation", "write it in IPv4 notation"}
	}
	if masked := prefix.Masked(); masked != prefix {
		return nil, &finding{text + " has bits set beyond its length",
			"write " + masked.String() + " for the network or " + prefix.Addr().String() + " for the host"}
	}
	return prefix, nil
}

// isHost says that s is an IP address or a host name (RFC 1123 s2.1).
func isHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	if len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if len(label) > 63 || !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`).MatchString(label) {
			return false
		}
	}
	return true
}

// contactFault checks a trunk's SIP URI: sip:[user@]host[:port][;transport=t].
// Empty if it is one.
func contactFault(uri string) string {
	rest, found := strings.CutPrefix(uri, "sip:")
	if !found {
		rest, found = strings.CutPrefix(uri, "sips:")
	}
	if !found {
		return "does not begin with sip: or sips:"
	}
	if strings.ContainsAny(rest, "?<> \"") {
		return "holds headers, spaces or brackets"
	}
	rest, parameters, _ := strings.Cut(rest, ";")
	for _, parameter := range strings.Split(parameters, ";") {
		name, value, _ := strings.Cut(strings.ToLower(parameter), "=")
		if name == "transport" && value != "udp" && value != "tcp" && value != "tls" {
			return "asks for the transport " + strconv.Quote(value)
		}
	}
	if _, host, cut := strings.Cut(rest, "@"); cut {
		rest = host
	}
	return hostPortFault(rest)
}

// hostPortFault checks host[:port], an IPv6 address in square brackets.
func hostPortFault(s string) string {
	var port string
	var hasPort bool
	if strings.HasPrefix(s, "[") {
		inside, after, closed := strings.Cut(s[1:], "]")
		if addr, err := netip.ParseAddr(inside); !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "has no IPv6 address between its square brackets"
		}
		if after != "" {
			if port, hasPort = strings.CutPrefix(after, ":"); !hasPort {
				return "has something other than a port after its host"
			}
		}
	} else {
		var host string
		host, port, hasPort = strings.Cut(s, ":")
		if !isHost(host) || strings.Contains(port, ":") {
			return "has no host name or IP address (IPv6 in square brackets)"
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0) {
		return "has a port that is none"
	}
	return ""
}

// isService says that s is an https URL of a host and nothing else.
func isService(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		strings.Trim(u.Path, "/") == "" && hostPortFault(u.Host) == ""
}
