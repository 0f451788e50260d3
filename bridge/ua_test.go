package bridge_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// ua is a PBX or a phone: an endpoint and its legs, without habits of its own. Its
// mailbox is run by whoever asks it something, so that nothing happens behind the
// test's back; auto lets it answer at once instead.
type ua struct {
	w    *world
	host netip.Addr
	ep   *sipua.Endpoint
	name string
	rtp  net.PacketConn

	flow    *sipua.Flow // to the server
	dialled uint16      // streams so far
	regID   int         // RFC 5626, 0: none
	cseq    uint32
	path    []string      // of its REGISTERs: it is a proxy with the phone behind it (RFC 3327)
	behind  string        // host of its Contact; "": its own
	boot    string        // tells the registrations of an app from those after its restart
	answer  func(*dialog) // what to do with an INVITE; nil: nothing

	mu    sync.Mutex
	queue []func()
	more  chan struct{}
	quit  chan struct{}
	done  chan struct{}

	calls []*dialog // the owner's
}

// dialog is one leg of a ua and what it told.
type dialog struct {
	*leg.Leg
	u      *ua
	invite *sip.Request // as UAS
	at     time.Time    // of the INVITE
	events []leg.Event
	on     func(leg.Event)
}

// ua makes a user agent named name at a host.
func (w *world) ua(name string, host netip.Addr) *ua {
	w.t.Helper()
	u := &ua{w: w, host: host, name: name, more: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	u.boots()
	var err error
	if u.rtp, err = w.net.Host(host).ListenPacket(netip.AddrPortFrom(host, 40000)); err != nil {
		w.t.Fatal(err)
	}
	go u.run() // awaited by close
	w.uas = append(w.uas, u)
	return u
}

func (u *ua) boots() {
	u.ep = endpoint(u.w.t, u.w.net, u.host, u, func(c *sipua.Config) {
		if u.w.infos[u.host] {
			c.Allow = withInfo
		}
		c.Advertise = func(*sipua.Flow) (string, int) {
			if at, ok := u.w.shown[u.host]; ok {
				return at.Addr().String(), int(at.Port())
			}
			return "", 0
		}
		if u.host == pbxHost { // it knows the server by its address, as the server knows it
			c.Party = func(_ sipua.Transport, remote netip.AddrPort) string {
				return map[netip.Addr]string{serverHost: "server"}[remote.Addr()]
			}
		}
		c.Dial = func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return u.w.net.Host(u.host).Dial(ctx, netip.AddrPort{}, to.Addr)
		}
	})
}

// restart kills the app, which says nothing, and starts it anew at the same UDP address: it
// knows nothing of its calls, and registers under another Call-ID.
func (u *ua) restart(aor sipua.AOR) {
	u.w.t.Helper()
	u.w.net.Partition(u.host, serverHost)
	u.do(func() {
		for _, d := range u.calls {
			d.Drop()
		}
	})
	u.ep.Close()
	u.boots()
	u.w.net.Heal(u.host, serverHost)
	u.boot += "again"
	u.connect(sipua.UDP)
	u.refresh(aor)
}

func (u *ua) run() {
	defer close(u.done)
	for {
		select {
		case <-u.quit:
			return
		case <-u.more:
		}
		for {
			u.mu.Lock()
			if len(u.queue) == 0 {
				u.mu.Unlock()
				break
			}
			f := u.queue[0]
			u.queue = u.queue[1:]
			u.mu.Unlock()
			f()
		}
	}
}

func (u *ua) post(f func()) {
	u.mu.Lock()
	u.queue = append(u.queue, f)
	u.mu.Unlock()
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// do runs f on the owner and waits for it, and for what comes of it.
func (u *ua) do(f func()) {
	done := make(chan struct{})
	u.post(func() {
		defer close(done)
		f()
	})
	<-done
	synctest.Wait()
}

func (u *ua) close() {
	close(u.quit)
	<-u.done
	u.ep.Close()
	u.rtp.Close()
}

// connect opens a flow to the server.
func (u *ua) connect(t sipua.Transport) *sipua.Flow {
	u.w.t.Helper()
	port := uint16(sipPort)
	if t == sipua.TCP {
		port += u.dialled % streamPorts
		u.dialled++
	}
	f, err := u.ep.Connect(u.w.t.Context(), t, sipua.Destination{Addr: netip.AddrPortFrom(serverHost, port)})
	if err != nil {
		u.w.t.Fatal(err)
	}
	u.flow = f
	return f
}

// register binds the phone to a user over a new connection.
func (u *ua) register(aor sipua.AOR) {
	u.w.t.Helper()
	u.connect(sipua.TCP)
	u.refresh(aor)
}

// refresh registers on the flow that there is.
func (u *ua) refresh(aor sipua.AOR) {
	u.w.t.Helper()
	u.cseq++
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: domain})
	req.AppendHeader(&sip.FromHeader{Address: *aor.URI(), Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: *aor.URI()})
	id := sip.CallIDHeader("reg-" + u.name + u.boot)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: u.cseq, MethodName: sip.REGISTER})
	contact := u.flow.Contact(aor.User)
	contact.Host = cmp.Or(u.behind, contact.Host)
	contact.UriParams = append(contact.UriParams, sip.HeaderKV{K: "pn-prid", V: "secret"})
	req.AppendHeader(&sip.ContactHeader{Address: contact, Params: sip.HeaderParams{{K: "+sip.instance", V: u.name}, {K: "reg-id", V: strconv.Itoa(u.regID)}}})
	for _, hop := range u.path {
		req.AppendHeader(sip.NewHeader("Path", hop))
	}
	got := make(chan int, 10)
	_, err := u.ep.Request(u.flow, req, func(res *sip.Response, err error) {
		if err != nil {
			got <- 0
			return
		}
		got <- res.StatusCode
	})
	if err != nil {
		u.w.t.Fatal(err)
	}
	if status := <-got; status != 200 {
		u.w.t.Fatalf("REGISTER: %d", status)
	}
	synctest.Wait()
}

// roam takes the phone to another network, at host, where it registers. The server has no
// sign that the connection it had is dead.
func (u *ua) roam(host netip.Addr, aor sipua.AOR) {
	u.w.t.Helper()
	u.w.net.Partition(u.host, serverHost)
	u.flow.SetParty("server") // as apps take it
	u.host = host
	u.connect(sipua.TCP).SetParty("server")
	u.refresh(aor)
}

// sleep closes the phone's connection: iOS put the app to sleep.
func (u *ua) sleep() {
	u.flow.Shut(fmt.Errorf("asleep"))
	synctest.Wait()
}

func (u *ua) config() leg.Config {
	return leg.Config{Endpoint: u.ep, Post: u.post, Log: slog.New(slog.DiscardHandler), ContactUser: u.name,
		Emit: func(l *leg.Leg, e leg.Event) {
			for _, d := range u.calls {
				if d.Leg == l {
					d.events = append(d.events, e)
					if d.on != nil {
						d.on(e)
					}
				}
			}
		}}
}

// Invite implements sipua.Handler.
func (u *ua) Invite(tx *sipua.ServerTx) {
	d := &dialog{Leg: leg.NewUAS(u.config(), tx), u: u, invite: tx.Request, at: time.Now()}
	u.post(func() {
		u.calls = append(u.calls, d)
		if u.answer != nil {
			u.answer(d)
		}
	})
}

// Request implements sipua.Handler.
func (u *ua) Request(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(405, "")) }

// FlowGone implements sipua.Handler.
func (u *ua) FlowGone(*sipua.Flow, error) {}

// sdp is an audio description of the ua; more are further lines of the m= section.
func (u *ua) sdp(more ...string) []byte {
	return []byte(fmt.Sprintf("v=0\r\no=%s 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8\r\n", u.name, u.host, u.host) +
		strings.Join(append(more, ""), "\r\n"))
}

// call sends an INVITE to a user or number of the server.
func (u *ua) call(called string, change ...func(*leg.Invite)) *dialog {
	u.w.t.Helper()
	if u.flow == nil {
		u.connect(sipua.UDP)
	}
	inv := leg.Invite{Flow: u.flow, RequestURI: sip.Uri{Scheme: "sip", User: called, Host: serverHost.String()},
		From: leg.Address{Name: "Anna", URI: sip.Uri{Scheme: "sip", User: u.name, Host: domain}},
		To:   leg.Address{URI: sip.Uri{Scheme: "sip", User: called, Host: domain}}, Body: u.sdp()}
	for _, c := range change {
		c(&inv)
	}
	d := &dialog{u: u, at: time.Now()}
	u.do(func() {
		d.Leg = leg.NewUAC(u.config(), inv)
		u.calls = append(u.calls, d)
	})
	return d
}

// got is the i-th INVITE that the ua got; nil if there was none.
func (u *ua) got(i int) *dialog {
	var d *dialog
	u.do(func() {
		n := 0
		for _, c := range u.calls {
			if c.invite == nil {
				continue
			}
			if n == i {
				d = c
			}
			n++
		}
	})
	return d
}

// newest is the last INVITE that the ua got.
func (u *ua) newest() *dialog {
	u.w.t.Helper()
	var d *dialog
	u.do(func() {
		for _, c := range u.calls {
			if c.invite != nil {
				d = c
			}
		}
	})
	if d == nil {
		u.w.t.Fatalf("%s got no INVITE", u.name)
	}
	return d
}

// invited expects the i-th INVITE.
func (u *ua) invited(i int) *dialog {
	u.w.t.Helper()
	d := u.got(i)
	if d == nil {
		u.w.t.Fatalf("%s got no INVITE %d", u.name, i)
	}
	return d
}

// must runs a verb of the dialog.
func (d *dialog) must(verb func() error) {
	d.u.w.t.Helper()
	var err error
	d.u.do(func() { err = verb() })
	if err != nil {
		d.u.w.t.Fatalf("%s: %v", d.u.name, err)
	}
}

func (d *dialog) ring()   { d.u.w.t.Helper(); d.must(func() error { return d.Ring() }) }
func (d *dialog) pickUp() { d.u.w.t.Helper(); d.must(func() error { return d.Answer(d.u.sdp()) }) }
func (d *dialog) hangUp() { d.u.w.t.Helper(); d.must(func() error { return d.Bye() }) }
func (d *dialog) giveUp() { d.u.w.t.Helper(); d.must(func() error { return d.Cancel() }) }
func (d *dialog) refuse(status int) {
	d.u.w.t.Helper()
	d.must(func() error { return d.Reject(status, "") })
}

// told is what the dialog told so far, in words, 100 Trying left out.
func (d *dialog) told() string {
	var out []string
	d.u.do(func() {
		for _, e := range d.events {
			if s := wordsOf(e); s != "" {
				out = append(out, s)
			}
		}
	})
	return strings.Join(out, ", ")
}

func wordsOf(e leg.Event) string {
	switch e := e.(type) {
	case leg.Provisional:
		if e.Status == 100 {
			return ""
		}
		s := fmt.Sprint(e.Status)
		if v := sipua.Value(e.Response, "X-Wake-Status"); v != "" {
			s += " " + v
		}
		if len(e.Body) > 0 {
			s += " sdp"
		}
		return s
	case leg.Answered:
		if e.AfterCancel {
			return "200 too late"
		}
		return "200"
	case leg.Failed:
		return fmt.Sprint(e.Status)
	case leg.Cancelled:
		return strings.Join(append([]string{"CANCEL"}, e.Reasons...), " ")
	case leg.Confirmed:
		return "ACK"
	case leg.Offer:
		return "re-INVITE"
	case leg.OfferAnswered:
		return fmt.Sprint("re-INVITE ", e.Status)
	case leg.OfferWithdrawn:
		return "re-INVITE withdrawn"
	case leg.FlowLost:
		return "flow lost"
	case leg.Ended:
		if e.ByRemote && e.Cause == leg.CauseBye {
			return strings.Join(append([]string{"BYE"}, e.Reasons...), " ")
		}
		return ""
	}
	return fmt.Sprintf("%T", e)
}

// expect compares what the dialog was told so far.
func (d *dialog) expect(want string) {
	d.u.w.t.Helper()
	if got := d.told(); got != want {
		d.u.w.t.Fatalf("%s was told [%s], want [%s]", d.u.name, got, want)
	}
}

// last is the last event of a type.
func last[E leg.Event](d *dialog) E {
	d.u.w.t.Helper()
	var out E
	found := false
	d.u.do(func() {
		for _, e := range d.events {
			if e, ok := e.(E); ok {
				out, found = e, true
			}
		}
	})
	if !found {
		d.u.w.t.Fatalf("%s was told no %T", d.u.name, out)
	}
	return out
}
