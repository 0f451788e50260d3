package resolve

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// serveDNS answers on a loopback socket from a zone; names it does not have do not
// exist. "broken." names get SERVFAIL.
func serveDNS(t *testing.T, z *zone) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = conn.Close() // ends the loop
		wg.Wait()
	})
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, err := z.answer(buf[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from) // a lost answer is a time-out
			}
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (z *zone) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, errors.New("not a question")
	}
	q := m.Questions[0]
	name := strings.ToLower(q.Name.String())
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 30}
	m.Response, m.Additionals = true, nil
	exists := z.srv[name] != nil
	for _, rec := range z.srv[name] {
		if q.Type == dnsmessage.TypeSRV {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.SRVResource{
				Priority: rec.Priority, Weight: rec.Weight, Port: rec.Port, Target: dnsmessage.MustNewName(rec.Target)}})
		}
	}
	for _, a := range z.ip[strings.TrimSuffix(name, ".")] {
		exists = true
		ip := net.ParseIP(a)
		if v4 := ip.To4(); v4 != nil && q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte(v4)}})
		} else if v4 == nil && q.Type == dnsmessage.TypeAAAA {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip)}})
		}
	}
	switch {
	case strings.Contains(name, "broken"):
		m.RCode = dnsmessage.RCodeServerFailure
	case !exists:
		m.RCode = dnsmessage.RCodeNameError
	}
	return m.Pack()
}

// The standard resolver over real packets behaves as zone pretends: names absolute
// for SRV, "." kept, NXDOMAIN told from failure.
func TestStandardResolver(t *testing.T) {
	r := New(Options{DNS: serveDNS(t, carriers()), Timeout: 20 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := r.Resolve(ctx, uri(t, "sip:carrier.example"))
	var v4 []string // whether IPv6 comes first depends on the machine's routes
	for _, x := range got {
		if x.Addr.Addr().Is4() {
			v4 = append(v4, show([]Target{x})...)
		}
	}
	if err != nil || len(got) != 5 || !slices.Equal(v4, []string{"UDP 192.0.2.10:5060 carrier.example", "UDP 192.0.2.20:5070 carrier.example", "TCP 192.0.2.10:5080 carrier.example"}) {
		t.Errorf("%q, %v", show(got), err)
	}
	if got, err = r.Resolve(ctx, uri(t, "sips:secure.example")); err != nil || !slices.Equal(show(got), []string{"TLS 192.0.2.30:5443 secure.example"}) {
		t.Errorf("%q, %v", show(got), err)
	}
	for _, none := range []string{"sip:closed.example", "sip:nowhere.example", "sip:nowhere.example:5060"} {
		if got, err := r.Resolve(ctx, uri(t, none)); !errors.Is(err, ErrNoTarget) {
			t.Errorf("%s: %q, %v", none, show(got), err)
		}
	}
	if got, err := r.Resolve(ctx, uri(t, "sip:broken.example:5060")); err == nil || errors.Is(err, ErrNoTarget) {
		t.Errorf("SERVFAIL: %q, %v", show(got), err)
	}
}
