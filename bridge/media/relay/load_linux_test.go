package relay

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"wakebridge/bridge/media/srtp"
)

// load sends RTP at 50 packets per second and stream, all streams evenly spread, and
// notes when each packet comes back. The kernel stamps the arrival, so that the
// load's own delays do not count.
type load struct {
	pipes   []pipe
	streams []*loadStream
	poll    int
	port    uint16
	sent    int // since reset
	next    int // packet of the schedule
	start   time.Time
	delays  []float64 // ms
	events  [256]unix.EpollEvent
	message stamped
}

// loadStream is one end of a pipe.
type loadStream struct {
	fd     int
	to     rawAddr
	seq    uint16
	packet []byte
	seal   *srtp.Sender
	sealed [][]byte   // packets to come, of SRTP
	sentAt [256]int64 // ns by sequence number; of the other end's packets
	peer   *loadStream
}

const loadRate = 50 // packets per second and stream

func newLoad(streams int, suites [2]srtp.Suite) (*load, error) {
	l := &load{port: 12000}
	var err error
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	l.message.init()
	for range streams / 2 {
		if err := l.add(suites); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// add makes one pipe with both its ends.
func (l *load) add(suites [2]srtp.Suite) error {
	var p pipe
	var ends [2]*loadStream
	for i := range ends {
		port, err := l.freePair()
		if err != nil {
			return err
		}
		s := &loadStream{}
		l.streams = append(l.streams, s)
		ends[i], p.Ports[i] = s, port
		if p.To[i], err = s.open(l.poll, len(l.streams)-1); err != nil {
			return err
		}
		s.to, _ = newRawAddr(netip.AddrPortFrom(loopback, port), unix.AF_INET)
		s.packet = make([]byte, 172)
		s.packet[0] = 0x80
		binary.BigEndian.PutUint32(s.packet[8:], uint32(1000+len(l.streams)))
		if suites[i] != 0 {
			if p.Keys[i], err = s.secure(suites[i]); err != nil {
				return err
			}
		}
	}
	ends[0].peer, ends[1].peer = ends[1], ends[0]
	l.pipes = append(l.pipes, p)
	return nil
}

// freePair finds an even port with its neighbour free, below those that the system
// gives away by itself.
func (l *load) freePair() (uint16, error) {
	for ; l.port < 32000; l.port += 2 {
		free := true
		for _, port := range []uint16{l.port, l.port + 1} {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
			if err != nil {
				free = false
				continue
			}
			c.Close()
		}
		if free {
			l.port += 2
			return l.port - 2, nil
		}
	}
	return 0, errors.New("no free ports below 32000")
}

func (s *loadStream) open(poll, index int) (port uint16, err error) {
	if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	for _, o := range [][3]int{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.SOL_SOCKET, unix.SO_RCVBUF, 1 << 20}} {
		if err := unix.SetsockoptInt(s.fd, o[0], o[1], o[2]); err != nil {
			return 0, err
		}
	}
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Addr: loopback.As4()}); err != nil {
		return 0, err
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return 0, err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index)}
	return uint16(name.(*unix.SockaddrInet4).Port), unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, s.fd, &ev)
}

// secure gives the end keys, and tells them as the relay needs them.
func (s *loadStream) secure(suite srtp.Suite) (benchKeys, error) {
	theirs, err := srtp.NewKey(suite)
	if err != nil {
		return benchKeys{}, err
	}
	ours, err := srtp.NewKey(suite)
	if err != nil {
		return benchKeys{}, err
	}
	s.seal, err = srtp.NewSender(theirs)
	text := base64.StdEncoding.EncodeToString
	return benchKeys{suite.String(), text(theirs.Secret()), text(ours.Secret())}, err
}

func (l *load) close() {
	for _, s := range l.streams {
		if s.fd > 0 {
			unix.Close(s.fd)
		}
	}
	unix.Close(l.poll)
}

// prepare seals what will be sent in d: to do so meanwhile would cost the relay, which may
// be on the same core's other thread.
func (l *load) prepare(d time.Duration) error {
	for _, s := range l.streams {
		if s.seal == nil {
			continue
		}
		for range int(d.Seconds()*loadRate) + 2 {
			s.count()
			out, err := s.seal.RTP(s.packet)
			if err != nil {
				return err
			}
			s.sealed = append(s.sealed, slices.Clone(out))
		}
		s.seq = 0
	}
	return nil
}

// count writes the next numbers into the packet.
func (s *loadStream) count() {
	s.seq++
	binary.BigEndian.PutUint16(s.packet[2:], s.seq)
	binary.BigEndian.PutUint32(s.packet[4:], uint32(s.seq)*160)
}

func (l *load) reset() { l.sent, l.delays = 0, l.delays[:0] }

func (l *load) received() int { return len(l.delays) }

func (l *load) delay(share float64) float64 {
	d := slices.Sorted(slices.Values(l.delays))
	if len(d) == 0 {
		return 0
	}
	return d[int(share*float64(len(d)-1))]
}

// run sends for a while; then, with 0, it waits for what is still on its way.
func (l *load) run(d time.Duration) {
	gap := time.Second / time.Duration(loadRate*len(l.streams))
	l.start = time.Now()
	l.next = 0
	end := l.start.Add(d)
	if d == 0 {
		end = l.start.Add(200 * time.Millisecond)
	}
	for now := time.Now(); now.Before(end); now = time.Now() {
		for burst := 0; d > 0 && burst < 64 && !l.start.Add(time.Duration(l.next)*gap).After(now); burst++ {
			l.send(l.streams[l.next%len(l.streams)])
			l.next++
		}
		wait := 1
		if d > 0 && !l.start.Add(time.Duration(l.next)*gap).After(time.Now()) {
			wait = 0
		}
		n, err := unix.EpollWait(l.poll, l.events[:], wait)
		for i := range n {
			if err == nil {
				l.take(l.streams[l.events[i].Fd])
			}
		}
	}
}

func (l *load) send(s *loadStream) {
	s.count()
	out := s.packet
	if s.seal != nil {
		if len(s.sealed) == 0 {
			return
		}
		out, s.sealed = s.sealed[0], s.sealed[1:]
	}
	s.peer.sentAt[s.seq%256] = time.Now().UnixNano()
	if transmit(s.fd, out, &s.to) == 0 {
		l.sent++
	}
}

func (l *load) take(s *loadStream) {
	for {
		pkt, at := l.message.receive(s.fd)
		if len(pkt) < 12 {
			return
		}
		if sent := s.sentAt[binary.BigEndian.Uint16(pkt[2:])%256]; sent > 0 {
			l.delays = append(l.delays, float64(at-sent)/1e6)
		}
	}
}

// stamped receives packets with the time at which the kernel got them.
type stamped struct {
	buf     [2048]byte
	control [64]byte
	iov     unix.Iovec
	header  unix.Msghdr
}

func (m *stamped) init() {
	m.iov.Base = &m.buf[0]
	m.iov.SetLen(len(m.buf))
	m.header.Iov = &m.iov
	m.header.SetIovlen(1)
	m.header.Control = &m.control[0]
}

// receive is nil when there is no packet.
func (m *stamped) receive(fd int) (pkt []byte, at int64) {
	m.header.SetControllen(len(m.control))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return nil, 0
	}
	head := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[0]))
	if head.Type == unix.SO_TIMESTAMPNS {
		stamp := (*unix.Timespec)(unsafe.Pointer(&m.control[unix.CmsgLen(0)]))
		at = stamp.Nano()
	}
	return m.buf[:n], at
}
