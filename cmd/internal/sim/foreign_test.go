package sim_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sideshow/apns2"

	"wakebridge/cmd/internal/sim"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/softphone"
)

// flexisip does to phones what Flexisip does, as its sources have it, with none of our
// own code for pushes: it reads the Contact by its own patterns, pushes by certificate with
// its own payload, passes the caller's Call-ID on, and brings a phone that comes after the
// caller gave up the INVITE and the CANCEL.
type flexisip struct {
	*world
	clients map[string]*apns2.Client // by what follows the bundle in the file's name

	mu      sync.Mutex
	parked  string // Call-ID of the call that waits for a REGISTER; "": none
	given   bool   // its caller has given it up
	results []error
}

var (
	pnParam = regexp.MustCompile(`^([^.]+)\.(.+)\.((?:voip|remote|&)+)$`)
	pnToken = regexp.MustCompile(`^([^:]+)(?::(voip|remote))?$`)
)

func newFlexisip(t *testing.T) *flexisip {
	t.Helper()
	f := &flexisip{world: newWorld(t), clients: make(map[string]*apns2.Client)}
	f.must(f.apns.AddTeam(sim.DefaultTeam, sim.DefaultBundle))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(f.apns.CAPEM())
	issued, err := f.apns.IssueCertificate(sim.DefaultTeam, sim.DefaultBundle, apnssim.VoIP, "")
	f.must(err)
	for name, env := range map[string]apnssim.Environment{"voip.prod": apnssim.Production, "voip.dev": apnssim.Sandbox} {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{issued.TLS}}}
		t.Cleanup(transport.CloseIdleConnections)
		f.clients[name] = &apns2.Client{Host: f.apns.URL(env), HTTPClient: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
	}
	f.before = f.dispatch
	return f
}

// push wakes the phone that registered last.
func (f *flexisip) push(callID string) error {
	f.world.mu.Lock()
	contact := f.contacts[len(f.contacts)-1]
	f.world.mu.Unlock()
	get := func(name string) string { v, _ := contact.Address.UriParams.Get(name); return v }
	client := f.clients[map[string]string{"apns": "voip.prod", "apns.dev": "voip.dev"}[get("pn-provider")]]
	param := pnParam.FindStringSubmatch(get("pn-param"))
	if client == nil || param == nil {
		return fmt.Errorf("contact %s", contact.Value())
	}
	for i, service := range strings.Split(param[3], "&") {
		token := pnToken.FindStringSubmatch(strings.Split(get("pn-prid"), "&")[i])
		if service != "voip" || len(token) != 3 || token[2] != "voip" || len(token[1]) != 64 {
			continue
		}
		instance, _ := contact.Params.Get("+sip.instance")
		res, err := client.Push(&apns2.Notification{DeviceToken: token[1], Topic: param[2] + ".voip", PushType: apns2.PushTypeVOIP, Priority: 10,
			Expiration: time.Now().Add(90 * time.Second), Payload: fmt.Appendf(nil, `{"aps":{"sound":"","loc-key":"IC_MSG","loc-args":[""],"call-id":%q,"uuid":%q,`+
				`"send-time":"2026-01-01 10:00:00"},"from-uri":"","display-name":"","pn_ttl":90,"customPayload":{}}`, callID, strings.Trim(instance, `"<>`))})
		if err == nil && !res.Sent() {
			err = fmt.Errorf("push: %d %s", res.StatusCode, res.Reason)
		}
		return err
	}
	return fmt.Errorf("no VoIP token in %s", contact.Value())
}

// call parks a call and wakes the phone for it.
func (f *flexisip) call(callID string, given bool) error {
	f.mu.Lock()
	f.parked, f.given = callID, given
	f.mu.Unlock()
	return f.push(callID)
}

// dispatch brings a phone that registers the call that waits for it.
func (f *flexisip) dispatch(tx *sipua.ServerTx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parked == "" {
		return
	}
	callID, given := f.parked, f.given
	f.parked = ""
	f.wg.Go(func() {
		err := f.ring(softphone.Outgoing{Target: header.StripPush(tx.Request.Contact().Address), Flow: tx.Flow(), CallID: callID}, given)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.results = append(f.results, err)
	})
}

// ring calls the phone until it answers and hangs up, or until it rings and gives up.
func (f *flexisip) ring(out softphone.Outgoing, given bool) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), 10*time.Second)
	defer cancel()
	c, err := f.server.Call(out)
	if err != nil {
		return err
	}
	wait := softphone.Answered
	if given {
		wait = softphone.Ringing
	}
	if _, err := c.Wait(ctx, wait); err != nil {
		return err
	}
	return c.Hangup() // BYE or CANCEL
}

// A vendor points the phone and the simulated APNs at the server that he has. The calls
// follow within the ten minutes in which the app remembers those that are over.
func TestPhoneAtAForeignServer(t *testing.T) {
	for _, env := range []string{"", "sandbox"} {
		t.Run(env, func(t *testing.T) {
			f := newFlexisip(t)
			in, typed := io.Pipe()
			out, printed := io.Pipe()
			var all strings.Builder
			calls := []struct {
				script string
				given  bool
			}{
				{"wait ringing\nanswer\nwait answer fulfilled\nwait ended remoteEnded\nsleep\nwait asleep\n", false},
				{"wait ringing\nanswer\nwait answer fulfilled\nwait ended remoteEnded\nsleep\nwait asleep\n", false},
				{"wait ringing\nwait ended remoteEnded\nsleep\nwait asleep\n", true},
			}
			f.wg.Go(func() {
				next := 0
				for sc := bufio.NewScanner(out); sc.Scan(); {
					fmt.Fprintln(&all, sc.Text())
					if !strings.Contains(sc.Text(), `"command":"wait asleep"`) || next == len(calls) {
						continue
					}
					if err := f.call(fmt.Sprintf("call-%d@pbx.example", next), calls[next].given); err != nil {
						t.Error(err)
					}
					next++
				}
				io.Copy(io.Discard, out)
			})
			f.wg.Go(func() {
				defer typed.Close()
				io.WriteString(typed, "wait registered\nsleep\nwait asleep\n")
				for _, c := range calls {
					io.WriteString(typed, c.script)
				}
			})
			err := sim.RunPhone(t.Context(), f.options(func(o *sim.PhoneOptions) { o.Foreign, o.Pushes.Environment = true, env }), in, printed)
			in.Close()
			printed.Close()
			f.wg.Wait()
			if err != nil || len(f.results) != len(calls) {
				t.Fatalf("%v, %d calls\n%s", err, len(f.results), &all)
			}
			for _, err := range f.results {
				f.must(err)
			}
			for _, c := range f.contacts {
				if strings.Contains(c.Value(), header.ParamWakeFate) {
					t.Errorf("what only Wakebridge knows is announced: %s", c.Value())
				}
			}
		})
	}
}
