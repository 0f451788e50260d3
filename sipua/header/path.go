package header

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// NamePath is the header field of RFC 3327.
const NamePath = "Path"

// maxPath bounds the hops of a registration's path.
const maxPath = 16

// Path is the route that a request to a binding must take, first hop first (RFC
// 3327). Each element is a name-addr as it was sent, for example
// "<sip:p1.example.com;lr>"; kept byte-exact, since a hop may find its own marks
// in there.
type Path []string

// ParsePath reads the values of all Path header fields of a REGISTER. Errors wrap
// ErrMalformed or ErrUnsafe.
func ParsePath(values ...string) (Path, error) {
	var path Path
	for _, v := range values {
		if err := Safe(v); err != nil {
			return nil, fmt.Errorf("Path: %w", err)
		}
		parts, err := split(v, ',')
		if err != nil {
			return nil, fmt.Errorf("Path: %w", err)
		}
		for _, part := range parts {
			if _, err := pathURI(part); err != nil {
				return nil, err
			}
			path = append(path, part)
		}
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("Path of %d hops: %w", len(path), ErrMalformed)
	}
	return path, nil
}

// String is the value of one header field with the whole path.
func (p Path) String() string { return strings.Join(p, ", ") }

// URIs are the hops' URIs, for a Route set. The error wraps ErrMalformed; a Path
// from ParsePath has none.
func (p Path) URIs() ([]sip.Uri, error) {
	uris := make([]sip.Uri, 0, len(p))
	for _, hop := range p {
		uri, err := pathURI(hop)
		if err != nil {
			return nil, err
		}
		uris = append(uris, uri)
	}
	return uris, nil
}

func pathURI(hop string) (sip.Uri, error) {
	var uri sip.Uri
	// Without brackets, parameters would belong to the header and the hop lose its lr.
	if !strings.Contains(hop, "<") {
		return uri, fmt.Errorf("Path: hop without angle brackets: %w", ErrMalformed)
	}
	if _, err := sip.ParseAddressValue(hop, &uri, nil); err != nil {
		return uri, fmt.Errorf("Path: %w: %w", ErrMalformed, err)
	}
	if (uri.Scheme != "sip" && uri.Scheme != "sips") || uri.Host == "" || uri.Wildcard {
		return uri, fmt.Errorf("Path: not a SIP URI: %w", ErrMalformed)
	}
	return uri, nil
}
