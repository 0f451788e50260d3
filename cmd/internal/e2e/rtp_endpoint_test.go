package e2e

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
)

// rtpEndpoint is the sound of a PBX whose signalling is somebody else's: it plays
// speech once, then silence, and records what comes.
type rtpEndpoint struct {
	addr     netip.AddrPort
	sender   *audio.Sender
	receiver *audio.Receiver
}

// newRTPEndpoint opens a port at host. It plays as soon as sendTo is called.
func newRTPEndpoint(t *testing.T, host string, speech []int16) *rtpEndpoint {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp4", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	e := &rtpEndpoint{
		addr:     conn.LocalAddr().(*net.UDPAddr).AddrPort(), //nolint:forcetypeassert // UDP
		sender:   audio.NewSender(conn, audio.PCMU, audio.Sequence(audio.Clip(speech), audio.Silence())),
		receiver: audio.NewReceiver(conn, time.Minute),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup // awaited by the function below
	for _, run := range []func(context.Context) error{e.sender.Run, e.receiver.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		conn.Close()
	})
	return e
}

func (e *rtpEndpoint) sendTo(remote netip.AddrPort) { e.sender.SetRemote(remote) }
