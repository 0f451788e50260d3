package media_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/audio"
)

// Each side hears the other's tone, all of it and nothing else.
func TestTonesThroughTheRelay(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		type talker struct {
			conn net.PacketConn
			side *media.Side
			s    *audio.Sender
			r    *audio.Receiver
		}
		ctx, cancel := context.WithCancel(w.Context())
		var all sync.WaitGroup
		talk := func(at netip.AddrPort, codec audio.Codec, hz float64) *talker {
			conn, err := w.net.ListenPacket(at)
			if err != nil {
				w.Fatal(err)
			}
			x := &talker{conn: conn, side: w.side(1), s: audio.NewSender(conn, codec, audio.Sine(hz, -20)), r: audio.NewReceiver(conn, 0)}
			x.side.SetRemote(0, media.Remote{RTP: at, PayloadTypes: []uint8{uint8(codec)}})
			x.s.SetRemote(netip.AddrPortFrom(server, x.side.Ports()[0]))
			x.side.Answered()
			for _, run := range []func(context.Context) error{x.s.Run, x.r.Run} {
				all.Go(func() {
					if err := run(ctx); err != nil {
						w.Error(err)
					}
				})
			}
			return x
		}
		a := talk(netip.AddrPortFrom(pbx, 12000), audio.PCMA, 440)
		b := talk(netip.AddrPortFrom(router, 4000), audio.PCMA, 620)
		media.Join(a.side, b.side)
		time.Sleep(10*time.Second - frame/2)
		cancel()
		all.Wait()
		for _, x := range []struct {
			*talker
			other       *talker
			hears, says float64
		}{{a, b, 620, 440}, {b, a, 440, 620}} {
			got, sound := x.r.Received(), x.r.Samples()
			if got.Lost != 0 || got.Packets+1 < x.other.s.Sent().Packets || got.SSRC != x.other.s.Sent().SSRC {
				w.Errorf("sent %+v, received %+v", x.other.s.Sent(), got)
			}
			if share, level := audio.Tone(sound, x.hears), audio.Level(sound); share < 0.99 || level < -20.5 || level > -19.5 {
				w.Errorf("%.0f Hz is %.3f of what was heard, at %.1f dBFS", x.hears, share, level)
			}
			if share := audio.Tone(sound, x.says); share > 0.02 {
				w.Errorf("it hears itself: %.3f", share)
			}
			if err := x.conn.Close(); err != nil {
				w.Error(err)
			}
		}
	})
}
