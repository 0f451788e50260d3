package pushtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apns"
)

// tenCharacters is how Apple writes team and key ids.
var tenCharacters = regexp.MustCompile(`^[A-Z0-9]{10}$`)

// configured says whether the app is known and its keys can be read now, not only
// when the server started.
func (p *probe) configured(context.Context) step {
	route, ok := p.server.Sender.Route(p.to)
	i := slices.IndexFunc(p.server.Push.Apps, func(a config.App) bool {
		return a.Provider != string(push.FCM) && a.BundleID == route.App.BundleID && a.TeamID == route.App.TeamID
	})
	if !ok || i < 0 {
		return p.unknownApp()
	}
	p.app = p.server.Push.Apps[i]
	if !tenCharacters.MatchString(p.app.TeamID) {
		return step{text: fmt.Sprintf("team_id %q is not ten capital letters and digits", p.app.TeamID), cure: "copy the Team ID from the developer account (Membership)"}
	}
	var ids []string
	for _, k := range p.app.Keys {
		if !tenCharacters.MatchString(k.ID) {
			return step{text: fmt.Sprintf("key id %q is not ten capital letters and digits", k.ID), cure: "copy the Key ID from the developer account (Keys)"}
		}
		if _, err := apns.LoadKey(k.File, k.ID); err != nil {
			return step{text: err.Error(), cure: "keys[].file must be the .p8 file as Apple gave it out, owned by the server's user, mode 0600"}
		}
		ids = append(ids, k.ID)
	}
	var with []string
	if len(ids) > 0 {
		with = append(with, "keys "+strings.Join(ids, ", "))
	}
	if failed := p.loadCertificate(); failed.cure != "" {
		return failed
	}
	if !p.cert.IsZero() {
		with = append(with, goodUntil(p.cert))
	}
	p.env = p.firstEnvironment()
	return step{text: fmt.Sprintf("app %s, team %s, %s, environment %s", p.app.BundleID, p.app.TeamID,
		cmp.Or(strings.Join(with, ", "), "no credential for this kind of push"), p.app.Environment)}
}

func (p *probe) unknownApp() step {
	return step{text: fmt.Sprintf("no app %q in push.apps", p.push.BundleID), cure: "use one of the configured apps, or add this one: " + p.appNames()}
}

// firstEnvironment is where the sender begins: the operator's word, else what is
// known of the token, else production, as far as there is a credential for it.
func (p *probe) firstEnvironment() push.Environment {
	if e := push.Environment(p.app.Environment); e.Known() {
		return e
	}
	if e := push.Environment(p.push.EnvironmentOf(p.kind).String()); e.Known() {
		return e
	}
	if !p.serves(push.Production) && p.serves(push.Sandbox) {
		return push.Sandbox
	}
	return push.Production
}

// providerToken says whether there is a key that can sign, or a certificate that
// needs no token.
func (p *probe) providerToken(context.Context) step {
	k, ok := p.key(p.env)
	switch {
	case !ok && p.certServes(p.env):
		return step{text: "none is needed with " + goodUntil(p.cert)}
	case !ok && expired(p.cert):
		return step{text: goodUntil(p.cert) + ": it has expired", cure: "get a new certificate from the developer account and put it into the place of this file, or use a key"}
	case !ok:
		return step{text: fmt.Sprintf("no key and no certificate for %s pushes serves %s", p.kind, p.env),
			cure: "add a key for this environment to push.apps[].keys, or a " + p.certificateName()}
	}
	key, err := apns.LoadKey(k.File, k.ID)
	if err == nil {
		err = key.Check(p.app.TeamID)
	}
	if err != nil {
		return step{text: err.Error(), cure: "keys[].file must be the .p8 file as Apple gave it out"}
	}
	return step{text: fmt.Sprintf("signed with key %s for team %s", k.ID, p.app.TeamID)}
}

// How long each step to the host of the push service may take.
const networkStep = 5 * time.Second

// service is where the app's push service is: its key in the configuration, its
// address, and a file with whom to trust.
func (p *probe) service() (key, base, caFile string) {
	c := p.server.Push
	switch {
	case p.android():
		return "push.fcm", c.FCM.URL, c.FCM.CAFile
	case p.env == push.Sandbox:
		return "push.apns", c.APNs.Sandbox, c.APNs.CAFile
	}
	return "push.apns", c.APNs.Production, c.APNs.CAFile
}

// network looks up the host of the push service, connects and shakes hands, on a
// connection of its own: those of the server may be older than the trouble.
func (p *probe) network(ctx context.Context) step {
	key, base, _ := p.service()
	u, err := url.Parse(base)
	if err != nil {
		return step{text: key + " has an address that is no URL", cure: "write it as https://host"}
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*networkStep)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return step{text: err.Error(), cure: "see that this machine can look up names (resolv.conf), and that " + key + " names the right host"}
	}
	conn, err := (&net.Dialer{Timeout: networkStep}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return step{text: err.Error(), cure: fmt.Sprintf("let the firewall pass TCP from this machine to %s port %s", host, port)}
	}
	defer conn.Close() //nolint:errcheck // nothing was sent on it
	state, err := p.handshake(ctx, conn, host)
	if err != nil {
		return step{text: "TLS with " + host + ": " + err.Error(),
			cure: "see that no proxy takes TLS apart on the way, that this machine has current CA certificates and the right time; for a simulator set " + key + ".ca_file"}
	}
	if state.NegotiatedProtocol != "h2" {
		return step{text: host + " does not speak HTTP/2", cure: "see that " + key + " names the push service, and that no proxy is on the way"}
	}
	return step{text: fmt.Sprintf("%s: %d addresses, connected to %s, %s, HTTP/2", host, len(addrs), conn.RemoteAddr(), tls.VersionName(state.Version))}
}

func (p *probe) handshake(ctx context.Context, conn net.Conn, host string) (tls.ConnectionState, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if key, _, file := p.service(); file != "" {
		pool, err := p.server.Sender.Roots(key+".ca_file", file)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		c.RootCAs = pool
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return tls.ConnectionState{}, err
	}
	return secure.ConnectionState(), nil
}
