package api

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ours refuses requests that a web page makes a browser on this machine send. Where
// no token is asked for, the name in Host must be one of this machine: a page may let
// its own name point here (DNS rebinding), and then even reads what we answer. No browser
// leaves Host out, as health checks by HTTP/1.0 do.
func ours(cfg Config, next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cfg.Token == "" && r.Host != "" && !isOurs(r.Host, cfg.Bound) {
			Fail(w, cfg.Log, Problem{Status: http.StatusMisdirectedRequest, Title: "Not a name of this server", // RFC 9110 s15.5.20
				Detail: "Host is " + quoteAll([]string{r.Host}),
				Fix:    "Use localhost or the address of http.bind, or set http.token_file: with a token any name will do."})
			return
		}
		if err := cross.Check(r); err != nil {
			Fail(w, cfg.Log, Problem{Status: http.StatusForbidden, Title: "A web page of another origin may change nothing", Detail: err.Error(),
				Fix: "Send the request from a program, without the headers Origin and Sec-Fetch-Site."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOurs says whether Host names this machine and nothing else: localhost
// (RFC 6761 s6.3), a loopback address, or the address that we are bound to.
func isOurs(host string, bound netip.Addr) bool {
	name, _, err := net.SplitHostPort(host)
	var noPort *net.AddrError
	if errors.As(err, &noPort) {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if a, err := netip.ParseAddr(name); err == nil {
		a = a.Unmap()
		return a.IsLoopback() || a == bound.Unmap()
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
