package digest

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// sameTarget compares the digest's uri with the request it came in, as loosely as
// Verify documents.
func sameTarget(req Request, digestURI, realm string) bool {
	var uri sip.Uri
	if err := sip.ParseUri(strings.TrimSpace(digestURI), &uri); err != nil {
		return false
	}
	if s := strings.ToLower(uri.Scheme); s != "sip" && s != "sips" {
		return strings.EqualFold(uri.Scheme, req.URI.Scheme) && uri.Raw() == req.URI.Raw()
	}
	if !sameHost(uri.Host, req.URI.Host, realm) {
		return false
	}
	return uri.User == "" || strings.EqualFold(req.Method, "REGISTER") || plain(uri.User) == plain(req.URI.User)
}

func sameHost(host, requestHost, realm string) bool {
	if host == "" {
		return false
	}
	if strings.EqualFold(host, requestHost) || strings.EqualFold(host, realm) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// plain undoes escapes, and leaves alone what has wrong ones.
func plain(user string) string {
	if u, err := url.PathUnescape(user); err == nil {
		return u
	}
	return user
}
