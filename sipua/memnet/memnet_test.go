package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"wakebridge/sipua/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }

// must unwraps a value of a call that has no reason to fail.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// closing closes c at the end of the test and complains if that fails for a reason other than an earlier Close.
func closing[C io.Closer](t testing.TB, c C) C {
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return c
}

func packetConn(t testing.TB, n *memnet.Network, addr string) net.PacketConn {
	t.Helper()
	return closing(t, must(n.ListenPacket(ap(addr)))(t))
}

func send(t testing.TB, c net.PacketConn, to, text string) {
	t.Helper()
	if _, err := c.WriteTo([]byte(text), net.UDPAddrFromAddrPort(ap(to))); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next datagram within a second of virtual time and its source, or "" when none comes.
func receive(t testing.TB, c net.PacketConn) (string, netip.AddrPort) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	k, from, err := c.ReadFrom(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", netip.AddrPort{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:k]), from.(*net.UDPAddr).AddrPort()
}

// streams makes a listener on 10.0.0.1:5060 and a stream to it from 10.0.0.2.
func streams(t testing.TB, n *memnet.Network) (dialled, accepted *memnet.Conn) {
	t.Helper()
	l := closing(t, must(n.Listen(ap("10.0.0.1:5060")))(t))
	d := closing(t, must(n.Dial(t.Context(), ap("10.0.0.2:0"), ap("10.0.0.1:5060")))(t))
	a := closing(t, must(l.Accept())(t))
	return d.(*memnet.Conn), a.(*memnet.Conn)
}

func TestPacketsReachTheirDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		a, b := packetConn(t, n, "10.0.0.1:5060"), packetConn(t, n, "10.0.0.2:0")
		port := b.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if port < 49152 {
			t.Errorf("port %d is not ephemeral", port)
		}
		send(t, b, "10.0.0.1:5060", "hello")
		send(t, b, "10.0.0.1:5061", "nobody there")
		text, from := receive(t, a)
		if text != "hello" || from != b.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Errorf("got %q from %v", text, from)
		}
		if text, _ := receive(t, a); text != "" {
			t.Errorf("got %q", text)
		}
		if _, err := n.ListenPacket(ap("10.0.0.1:5060")); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second bind: %v", err)
		}
		if _, err := n.ListenPacket(ap("0.0.0.0:5060")); !errors.Is(err, memnet.ErrUnspecified) {
			t.Errorf("unspecified: %v", err)
		}
	})
}

func TestPacketReadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		c := packetConn(t, n, "10.0.0.1:5060")
		start := time.Now()
		if err := c.SetReadDeadline(start.Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.ReadFrom(make([]byte, 10))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, _, err := c.ReadFrom(make([]byte, 10))
			ended <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read ended with %v", err)
		}
		if c2, err := n.ListenPacket(ap("10.0.0.1:5060")); err != nil {
			t.Errorf("port is not free again: %v", err)
		} else {
			closing(t, c2)
		}
	})
}

// A deadline that is moved while somebody waits counts as moved.
func TestDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		c := packetConn(t, n, "10.0.0.1:5060")
		start := time.Now()
		if err := c.SetDeadline(start.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		ended := make(chan time.Duration)
		go func() {
			_, _, err := c.ReadFrom(make([]byte, 10))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			ended <- time.Since(start)
		}()
		synctest.Wait()
		if err := c.SetReadDeadline(start.Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if took := <-ended; took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestPacketQueueOverflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{PacketQueue: 3})
		var outcomes []memnet.Outcome
		n.Tap(func(p memnet.Packet) { outcomes = append(outcomes, p.Outcome) })
		a, b := packetConn(t, n, "10.0.0.1:5060"), packetConn(t, n, "10.0.0.2:5060")
		for range 4 {
			send(t, b, "10.0.0.1:5060", "x")
		}
		want := []memnet.Outcome{memnet.Delivered, memnet.Delivered, memnet.Delivered, memnet.Overflow}
		if !slices.Equal(outcomes, want) {
			t.Errorf("outcomes %v", outcomes)
		}
		for i, want := range []string{"x", "x", "x", ""} {
			if got, _ := receive(t, a); got != want {
				t.Errorf("read %d: %q", i, got)
			}
		}
	})
}

func TestStreamClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		n.Impair(netip.Addr{}, netip.Addr{}, memnet.Impairment{Delay: 40 * time.Millisecond})
		start := time.Now()
		d, a := streams(t, n)
		if rtt := time.Since(start); rtt != 80*time.Millisecond {
			t.Errorf("connecting took %v", rtt)
		}
		if a.RemoteAddr().String() != d.LocalAddr().String() || d.RemoteAddr().String() != "10.0.0.1:5060" {
			t.Errorf("addresses %v %v", a.RemoteAddr(), d.RemoteAddr())
		}
		if _, err := d.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(a)
		if err != nil || string(got) != "last words" {
			t.Errorf("got %q, %v", got, err)
		}
		// As on Linux: the first write to a closed peer succeeds, its reset fails the next.
		if _, err := a.Write([]byte("x")); err != nil {
			t.Errorf("first write: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("second write: %v", err)
		}
		if err := d.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
	})
}

func TestStreamHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, a := streams(t, memnet.New(memnet.Options{}))
		if err := d.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a); err != nil || len(got) != 0 {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := a.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after CloseWrite: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d); err != nil || string(got) != "answer" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestStreamReset(t *testing.T) {
	t.Run("by Reset", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, a := streams(t, memnet.New(memnet.Options{}))
			if _, err := d.Write([]byte("before")); err != nil {
				t.Fatal(err)
			}
			d.Reset()
			got, err := io.ReadAll(a)
			if string(got) != "before" || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, %v", got, err)
			}
			if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write: %v", err)
			}
			if _, err := d.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("own read: %v", err)
			}
		})
	})
	t.Run("by Close with unread bytes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, a := streams(t, memnet.New(memnet.Options{}))
			if _, err := d.Write([]byte("never read")); err != nil {
				t.Fatal(err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v", err)
			}
		})
	})
	t.Run("unblocks a writer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, a := streams(t, memnet.New(memnet.Options{StreamBuffer: 4}))
			ended := make(chan error)
			go func() {
				k, err := d.Write([]byte("too much"))
				if k != 4 {
					t.Errorf("wrote %d", k)
				}
				ended <- err
			}()
			synctest.Wait()
			a.Reset()
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
		})
	})
}

func TestStreamBufferBlocksUntilDeadline(t *testing.T) {
	for name, prepare := range map[string]func(*memnet.Conn){
		"peer that does not read": func(*memnet.Conn) {},
		"black hole":              func(c *memnet.Conn) { c.Blackhole() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, a := streams(t, memnet.New(memnet.Options{StreamBuffer: 1000}))
				prepare(a)
				start := time.Now()
				if err := d.SetWriteDeadline(start.Add(2 * time.Second)); err != nil {
					t.Fatal(err)
				}
				k, err := d.Write(make([]byte, 1500))
				if k != 1000 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
					t.Errorf("wrote %d after %v: %v", k, time.Since(start), err)
				}
			})
		})
	}
}

func TestBlackholeIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, a := streams(t, memnet.New(memnet.Options{}))
		d.Blackhole()
		if _, err := d.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := a.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the peer noticed: %v", err)
		}
	})
}

func TestDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{Backlog: 1})
		if _, err := n.Dial(t.Context(), ap("10.0.0.2:0"), ap("10.0.0.1:5060")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l := closing(t, must(n.Listen(ap("10.0.0.1:5060")))(t))
		n.Partition(ip("10.0.0.1"), ip("10.0.0.2"))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := n.Dial(ctx, ap("10.0.0.2:0"), ap("10.0.0.1:5060"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("partition: %v after %v", err, time.Since(start))
		}
		n.Heal(ip("10.0.0.1"), ip("10.0.0.2"))
		if err := l.(*memnet.Listener).SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if c, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the dead SYN was accepted: %v, %v", c, err)
		}

		// A full backlog delays, and closing the listener resets what it did not accept.
		first := closing(t, must(n.Dial(t.Context(), ap("10.0.0.2:0"), ap("10.0.0.1:5060")))(t))
		ended := make(chan error)
		go func() {
			_, err := n.Dial(t.Context(), ap("10.0.0.2:0"), ap("10.0.0.1:5060"))
			ended <- err
		}()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("not accepted: %v", err)
		}
		if err := <-ended; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("SYN behind the backlog: %v", err)
		}
	})
}

// Streams wait out a partition, datagrams do not.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		d, a := streams(t, n)
		p1, p2 := packetConn(t, n, "10.0.0.1:5060"), packetConn(t, n, "10.0.0.2:5060")
		n.Partition(ip("10.0.0.2"), netip.Addr{})
		for _, text := range []string{"one ", "two ", "three"} {
			if _, err := d.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		send(t, p2, "10.0.0.1:5060", "lost")
		if text, _ := receive(t, p1); text != "" {
			t.Errorf("got %q through a partition", text)
		}
		if err := a.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read through a partition: %v", err)
		}
		n.Heal(ip("10.0.0.2"), netip.Addr{})
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(a); err != nil || string(got) != "one two three" {
			t.Errorf("got %q, %v", got, err)
		}
		send(t, p2, "10.0.0.1:5060", "back")
		if text, _ := receive(t, p1); text != "back" {
			t.Errorf("got %q after Heal", text)
		}
	})
}

func TestNetworkClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New(memnet.Options{})
		d, a := streams(t, n)
		p := packetConn(t, n, "10.0.0.1:5060")
		ended := make(chan error)
		go func() {
			_, err := d.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, _, err := p.ReadFrom(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, err := n.Listen(ap("10.0.0.9:1")); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// Whatever the sizes, pauses, delay, loss, jitter and partitions: a stream's bytes arrive exactly, in order, then EOF.
func TestStreamDeliversExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opts := memnet.Options{Seed: rapid.Uint64().Draw(rt, "seed"), StreamBuffer: rapid.IntRange(1, 300).Draw(rt, "buffer")}
		writes := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 200), 0, 20).Draw(rt, "writes")
		reads := rapid.IntRange(1, 100).Draw(rt, "read size")
		imp := memnet.Impairment{
			Loss:   rapid.SampledFrom([]float64{0, 0, 0.3}).Draw(rt, "loss"),
			Delay:  time.Duration(rapid.IntRange(0, 50).Draw(rt, "delay")) * time.Millisecond,
			Jitter: time.Duration(rapid.IntRange(0, 100).Draw(rt, "jitter")) * time.Millisecond,
		}
		cutAt := rapid.IntRange(-1, 20).Draw(rt, "cut before write")
		var got []byte
		synctest.Test(t, func(t *testing.T) {
			n := memnet.New(opts)
			n.Impair(netip.Addr{}, netip.Addr{}, imp)
			d, a := streams(t, n)
			read := make(chan error)
			go func() {
				var err error
				got, err = readInPieces(a, reads)
				read <- err
			}()
			for i, w := range writes {
				if i == cutAt {
					n.Partition(ip("10.0.0.1"), ip("10.0.0.2"))
					time.AfterFunc(10*time.Second, func() { n.Heal(ip("10.0.0.1"), ip("10.0.0.2")) })
				}
				if k, err := d.Write(w); k != len(w) || err != nil {
					t.Errorf("wrote %d of %d: %v", k, len(w), err)
				}
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if err := <-read; err != nil {
				t.Error(err)
			}
			n.Heal(ip("10.0.0.1"), ip("10.0.0.2"))
		})
		if want := slices.Concat(writes...); !bytes.Equal(got, want) {
			rt.Fatalf("got %d bytes, want %d", len(got), len(want))
		}
	})
}

func readInPieces(r io.Reader, size int) ([]byte, error) {
	var got []byte
	buf := make([]byte, size)
	for {
		k, err := r.Read(buf)
		got = append(got, buf[:k]...)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
	}
}
