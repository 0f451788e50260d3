package sipua

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"
)

type ignore struct{}

func (ignore) Invite(*ServerTx)      {}
func (ignore) Request(*ServerTx)     {}
func (ignore) FlowGone(*Flow, error) {}

type nowhere struct{}

func (nowhere) send([]byte) error { return nil }
func (nowhere) shut()             {}

// Two read loops of one trunk may be at the same request at the same moment: the
// table decides which of them has it.
func TestSameTransactionTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ep := New(Config{Handler: ignore{}, Log: slog.New(slog.DiscardHandler)})
		defer ep.Close()
		msg, err := newParser().parse([]byte(crlf("REGISTER sip:b SIP/2.0|Via: SIP/2.0/TCP a;branch=z9hG4bK1|From: <sip:a@b>;tag=1|To: <sip:a@b>|Call-ID: c|CSeq: 1 REGISTER||")))
		if err != nil {
			t.Fatal(err)
		}
		req, ok := msg.(*sip.Request)
		if !ok {
			t.Fatal("no request")
		}
		f := newFlow(ep, TCP, netip.AddrPort{}, netip.AddrPort{})
		f.wire = nowhere{}
		key := serverKey(req, req.Method)
		first, err := ep.newServerTx(f, req, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ep.newServerTx(f, req, key); Status(err) != 482 {
			t.Errorf("second: %v", err)
		}
		if ep.txs.server(key) != first || f.held.Load() != 2 {
			t.Errorf("the first is gone, or %d hold the flow", f.held.Load())
		}
		first.Reject(Reject(403, ""))
		synctest.Wait()
		f.Shut(ErrClosed)
		if _, err := ep.newServerTx(f, req, key); !errors.Is(err, ErrFlowGone) {
			t.Errorf("on a dead flow: %v", err)
		}
		if s, _ := ep.txs.sizes(); s != 0 || f.held.Load() != 0 {
			t.Errorf("%d transactions, %d hold the flow", s, f.held.Load())
		}
	})
}
