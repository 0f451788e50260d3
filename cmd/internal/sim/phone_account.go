package sim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
)

// PhoneAccount is the phone's SIP account, as flags have it.
type PhoneAccount struct {
	Server    string // host:port
	Transport string // udp, tcp or tls. Default: tcp
	User      string
	Password  string
	Domain    string // default: the server's host
	Display   string
	Instance  string // a URN, or a UUID alone. Default: a new one
	TLSCA     string // PEM file; "": the system's
}

// read checks the account and finds the server's address. Errors: ErrOption, those
// of the resolver.
func (a PhoneAccount) read(ctx context.Context) (iphone.Account, error) {
	out := iphone.Account{Display: a.Display, Password: a.Password}
	if a.User == "" {
		return out, fmt.Errorf("%w: user is missing", ErrOption)
	}
	switch a.Transport {
	case "", "tcp":
		out.Transport = sipua.TCP
	case "tls":
		out.Transport = sipua.TLS
	case "udp":
		out.Transport = sipua.UDP
	default:
		return out, fmt.Errorf("%w: transport %q is none of udp, tcp and tls", ErrOption, a.Transport)
	}
	host, port, err := net.SplitHostPort(a.Server)
	if err != nil {
		return out, fmt.Errorf("%w: server %q is not host:port", ErrOption, a.Server)
	}
	if out.Server, err = destination(ctx, host, port); err != nil {
		return out, err
	}
	domain := a.Domain
	if domain == "" {
		domain = host
	}
	out.AOR = sipua.NewAOR(a.User, domain)
	out.Instance, err = readInstance(a.Instance)
	return out, err
}

// destination finds a server; the first address of its name is used.
func destination(ctx context.Context, host, port string) (sipua.Destination, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return sipua.Destination{}, fmt.Errorf("%w: server port %q", ErrOption, port)
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return sipua.Destination{}, fmt.Errorf("server: %w", err)
	}
	return sipua.Destination{Host: host, Addr: netip.AddrPortFrom(all[0].Unmap(), uint16(number))}, nil
}

func readInstance(text string) (string, error) {
	if text == "" || strings.HasPrefix(text, "urn:") {
		return text, nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%w: instance %q is neither a URN nor a UUID", ErrOption, text)
	}
	return id.URN(), nil
}

// tls is the client's TLS configuration, nil for the system's defaults.
func (a PhoneAccount) tls() (*tls.Config, error) {
	if a.TLSCA == "" {
		return nil, nil //nolint:nilnil // nil is a valid *tls.Config
	}
	pem, err := os.ReadFile(a.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("%w: tls-ca: %w", ErrOption, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: tls-ca: %s holds no certificate", ErrOption, a.TLSCA)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// readIOS reads a version such as 9, 18 or 26.4; "" is 18.
func readIOS(text string) (major, minor int, err error) {
	if text == "" {
		return 18, 0, nil
	}
	first, rest, more := strings.Cut(text, ".")
	major, err = strconv.Atoi(first)
	if err == nil && more {
		second, _, _ := strings.Cut(rest, ".")
		minor, err = strconv.Atoi(second)
	}
	if err != nil || major < 8 || minor < 0 {
		return 0, 0, fmt.Errorf("%w: iOS %q is no version from 8 on", ErrOption, text)
	}
	return major, minor, nil
}
