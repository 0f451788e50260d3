package softphone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/leg"
)

// Config is what a Phone is made of. AOR, Media and Log are required, and a way to
// the network: Packets, Packet, Listeners or Dial.
type Config struct {
	// AOR is who the phone is: From of its calls, and what it registers.
	AOR sipua.AOR
	// Display is the name beside it; "" for none.
	Display string
	// Username and Password answer challenges. Username "" is the AOR's user;
	// Password "": challenges are failures.
	Username, Password string
	// Agent is the value of User-Agent. Default: "Wakebridge softphone".
	Agent string
	// Packets are UDP sockets for SIP, Listeners accept streams; the phone closes
	// them.
	Packets   []net.PacketConn
	Listeners []Listener
	// Packet opens a UDP socket for SIP when there is none, for a phone whose sockets
	// come and go: who closes one ends its flows, and the next connection opens
	// another. nil: there are only those of Packets.
	Packet func() (net.PacketConn, error)
	// Dial opens streams to the registrar or the peer; see Dialer. nil: none.
	Dial func(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error)
	// Media opens the socket of a call's RTP. What it is bound to goes into the
	// SDP, or the address of the call's flow if it is bound to none.
	Media func() (net.PacketConn, error)
	Audio AudioConfig
	// Observe sees each event of each call, on the phone's goroutine: it must only
	// post. nil: nobody looks.
	Observe func(c *Call, e Event)
	// Requests gets the REGISTERs that come, so that the phone can play a registrar;
	// it is called in a read loop. nil: they get 405.
	Requests func(tx *sipua.ServerTx)
	// Tap sees each SIP message; it must only post.
	Tap func(sipua.Traffic)
	Log *slog.Logger
}

// Listener accepts streams. For TLS, Net yields *tls.Conn.
type Listener struct {
	Net       net.Listener
	Transport sipua.Transport // TCP or TLS
}

// AudioConfig says what a phone speaks.
type AudioConfig struct {
	// Codecs by preference. Default: PCMU, PCMA.
	Codecs []audio.Codec
	// Source gives the sound of a call. Default: silence.
	Source func() audio.Source
	// Manual: after the answer the phone sends nothing until Call.StartAudio, as
	// under CallKit, which says when.
	Manual bool
	// Security says whether it speaks SRTP, with Suites by preference. Defaults:
	// SRTPAnswered, all.
	Security Security
	Suites   []string
	// Keys says how keys go and come. Default: KeysEvents.
	Keys KeyWay
}

// Tone makes a Source that sends a tone of hz at -12 dBFS.
func Tone(hz float64) func() audio.Source {
	return func() audio.Source { return audio.Sine(hz, -12) }
}

// Dialer dials real TCP, and TLS with tlsConfig, whose ServerName is the
// destination's host if it names none.
func Dialer(tlsConfig *tls.Config) func(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error) {
	return func(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", to.Addr.String())
		if err != nil || t != sipua.TLS {
			return conn, err
		}
		return SecureClient(ctx, conn, tlsConfig, to)
	}
}

// SecureClient shakes hands as a TLS client on conn, which it closes on failure.
func SecureClient(ctx context.Context, conn net.Conn, config *tls.Config, to sipua.Destination) (net.Conn, error) {
	c := config.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.ServerName == "" {
		c.ServerName = to.Host
		if c.ServerName == "" {
			c.ServerName = to.Addr.Addr().String()
		}
	}
	secure := tls.Client(conn, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), conn.Close())
	}
	return secure, nil
}

// Phone is a softphone.
type Phone struct {
	cfg    Config
	ep     *sipua.Endpoint
	login  *digest.Client // nil without a password
	loop   *loop
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the loop and the audio of calls
	once   sync.Once

	calls   map[*leg.Leg]*Call // the loop's
	arrived chan *Call

	mu      sync.Mutex
	lines   []*Registration
	opening sync.Mutex // of a UDP socket
}

// waitingCalls is how many incoming calls Accept keeps; the oldest is forgotten by
// it then, and rings on for Observe alone.
const waitingCalls = 64

// New makes a phone and starts to listen. Close ends it.
func New(cfg Config) (*Phone, error) {
	if len(cfg.Audio.Codecs) == 0 {
		cfg.Audio.Codecs = []audio.Codec{audio.PCMU, audio.PCMA}
	}
	if cfg.Audio.Source == nil {
		cfg.Audio.Source = audio.Silence
	}
	if cfg.Agent == "" {
		cfg.Agent = "Wakebridge softphone"
	}
	if cfg.Username == "" {
		cfg.Username = cfg.AOR.User
	}
	p := &Phone{cfg: cfg, loop: newLoop(), calls: make(map[*leg.Leg]*Call), arrived: make(chan *Call, waitingCalls)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if cfg.Password != "" {
		p.login = digest.NewClient(digest.Login{Username: cfg.Username, Password: cfg.Password})
	}
	allow := []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"}
	if cfg.Requests != nil {
		allow = append(allow, "REGISTER")
	}
	if cfg.Audio.Keys == KeysInfo {
		allow = append(allow, "INFO")
	}
	p.ep = sipua.New(sipua.Config{Handler: handler{p}, Log: cfg.Log, Dial: cfg.Dial, Tap: cfg.Tap, Agent: cfg.Agent, Allow: allow,
		// A phone's peers are few and known: nobody is thrown out for idling.
		Limits: sipua.Limits{IdleStranger: 24 * time.Hour, Idle: 24 * time.Hour, IdleUDP: 24 * time.Hour, FirstMessage: 24 * time.Hour}})
	p.wg.Add(1)
	go func() { // awaited by Close
		defer p.wg.Done()
		p.loop.run()
	}()
	for _, pc := range cfg.Packets {
		if err := p.ep.ServeUDP(pc); err != nil {
			p.Close()
			return nil, fmt.Errorf("serve %s: %w", pc.LocalAddr(), err)
		}
	}
	for _, l := range cfg.Listeners {
		if err := p.ep.ServeStream(l.Net, l.Transport); err != nil {
			p.Close()
			return nil, fmt.Errorf("serve %s: %w", l.Net.Addr(), err)
		}
	}
	return p, nil
}

// Close ends the phone at once and without a word, as a crash would: no BYE, no
// un-REGISTER. It waits for everything that the phone started.
func (p *Phone) Close() {
	p.once.Do(func() {
		p.cancel()
		p.mu.Lock()
		lines := p.lines
		p.mu.Unlock()
		for _, r := range lines {
			r.Close()
		}
		p.loop.close()
		p.ep.Close()
	})
	p.wg.Wait()
}

// Endpoint is the phone's endpoint, for its Sizes and Flows.
func (p *Phone) Endpoint() *sipua.Endpoint { return p.ep }

// Listening is the first address at which the phone listens for t, the zero
// AddrPort if there is none.
func (p *Phone) Listening(t sipua.Transport) netip.AddrPort {
	if all := p.ep.Listening(t); len(all) > 0 {
		return all[0]
	}
	return netip.AddrPort{}
}

// Connect gives a flow to a peer: for UDP from the phone's socket, else an open
// connection to that address or a new one.
func (p *Phone) Connect(ctx context.Context, t sipua.Transport, to sipua.Destination) (*sipua.Flow, error) {
	if t == sipua.UDP && p.cfg.Packet != nil {
		if err := p.openUDP(); err != nil {
			return nil, err
		}
	}
	f, err := p.ep.Connect(ctx, t, to)
	if err != nil {
		return nil, err
	}
	f.SetParty(to.Addr.String()) // on whatever connection: what it says is matched by branch and dialog (RFC 3261 s9.2, s12.2.2)
	return f, nil
}

// openUDP sees to it that there is a UDP socket.
func (p *Phone) openUDP() error {
	p.opening.Lock()
	defer p.opening.Unlock()
	if p.Listening(sipua.UDP).IsValid() {
		return nil
	}
	pc, err := p.cfg.Packet()
	if err != nil {
		return fmt.Errorf("open a UDP socket: %w", err)
	}
	if err := p.ep.ServeUDP(pc); err != nil {
		return errors.Join(fmt.Errorf("serve %s: %w", pc.LocalAddr(), err), pc.Close())
	}
	return nil
}

// Disconnect closes a flow without a word, as a phone that falls asleep does.
func (p *Phone) Disconnect(f *sipua.Flow) { f.Shut(errAsleep) }

var errAsleep = errors.New("phone closed the connection")

// Accept waits for the next incoming call. It has sent 100 only: Ring, Answer or
// Reject follow. Errors: ErrClosed, ctx's.
func (p *Phone) Accept(ctx context.Context) (*Call, error) {
	select {
	case c := <-p.arrived:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.ctx.Done():
		return nil, ErrClosed
	}
}

// Outgoing is a call to make.
type Outgoing struct {
	// Target is the Request-URI and To.
	Target sip.Uri
	Flow   *sipua.Flow
	// From, if it names somebody, is shown instead of the phone's AOR, as a PBX
	// shows its caller.
	From leg.Address
	// Headers go into the INVITE.
	Headers []sip.Header
	// CallID, FromTag: "" makes new ones.
	CallID, FromTag string
}

// Call calls. What comes of it is told by the Call. Errors: ErrClosed, those of
// Config.Media; that the INVITE could not be sent is an event.
func (p *Phone) Call(out Outgoing) (*Call, error) {
	c := p.newCall(false)
	c.target = out.Target
	err := p.loop.do(func() error {
		if err := c.openMedia(out.Flow); err != nil {
			return err
		}
		offer, err := c.media.offer(sendrecv)
		if err != nil {
			c.media.close()
			return err
		}
		from := out.From
		if from.URI.Host == "" {
			from = leg.Address{Name: p.cfg.Display, URI: *p.cfg.AOR.URI()}
		}
		c.callID = out.CallID
		if c.callID == "" {
			c.callID = sipua.NewTag()
		}
		l := leg.NewUAC(p.legConfig(), leg.Invite{Flow: out.Flow, RequestURI: out.Target, From: from,
			To: leg.Address{URI: plain(out.Target)}, CallID: c.callID, FromTag: out.FromTag, Headers: out.Headers, Body: offer})
		p.own(c, l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// plain is a URI as To shows it: without parameters.
func plain(uri sip.Uri) sip.Uri {
	uri.UriParams, uri.Headers, uri.Port = nil, nil, 0
	return uri
}

func (p *Phone) legConfig() leg.Config {
	return leg.Config{Endpoint: p.ep, Post: p.loop.post, Emit: p.emitted, Log: p.cfg.Log, ContactUser: p.cfg.AOR.User, Credentials: p.login}
}

func (p *Phone) own(c *Call, l *leg.Leg) {
	c.leg = l
	p.calls[l] = c
}

// emitted gets the events of all legs, on the loop.
func (p *Phone) emitted(l *leg.Leg, e leg.Event) {
	if c := p.calls[l]; c != nil {
		c.handle(e)
		if _, last := e.(leg.Ended); last {
			delete(p.calls, l)
		}
	}
}

// handler takes what begins outside any dialog.
type handler struct{ p *Phone }

// Invite implements sipua.Handler. The loop waits for the leg that is made here, so
// that nothing of it is told before Invited.
func (h handler) Invite(tx *sipua.ServerTx) {
	c := h.p.newCall(true)
	c.invite, c.callID = tx.Request, tx.Request.CallID().Value()
	made := make(chan *leg.Leg, 1)
	h.p.loop.post(func() {
		h.p.own(c, <-made)
		c.add(Event{Kind: Invited})
		h.p.queue(c)
	})
	made <- leg.NewUAS(h.p.legConfig(), tx)
}

// queue keeps a call for Accept.
func (p *Phone) queue(c *Call) {
	for {
		select {
		case p.arrived <- c:
			return
		default:
		}
		select {
		case <-p.arrived:
		default:
		}
	}
}

// Request implements sipua.Handler: OPTIONS, and REGISTER if that is allowed.
func (h handler) Request(tx *sipua.ServerTx) {
	if tx.Request.Method == sip.REGISTER {
		h.p.cfg.Requests(tx)
		return
	}
	res := tx.NewResponse(200, "")
	res.AppendHeader(sip.NewHeader("Allow", h.p.ep.Allow()))
	res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	if err := tx.Respond(res); err != nil {
		h.p.cfg.Log.Debug("answer OPTIONS", "error", err)
	}
}

// FlowGone implements sipua.Handler. The legs and the registration watch theirs.
func (h handler) FlowGone(*sipua.Flow, error) {}
