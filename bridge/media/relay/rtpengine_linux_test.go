package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rtpengine is the contestant from outside, where its program is installed: in user
// space, with one thread, told of each call over its control protocol ("ng").
type rtpengine struct {
	control net.Conn
	asked   int
}

// findRTPEngine is its program, "" where there is none.
func findRTPEngine() string {
	path, err := exec.LookPath("rtpengine")
	if err != nil {
		return ""
	}
	return path
}

// rtpengineCommand listens for control on a free port.
func rtpengineCommand(program string) (command []string, control string, err error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, "", err
	}
	control = c.LocalAddr().String()
	return []string{
		program, "--table=-1", "--interface=127.0.0.1", "--listen-ng=" + control, "--foreground", "--log-stderr",
		"--log-level=2", "--num-threads=1", "--port-min=26000", "--port-max=31999", "--delete-delay=0",
	}, control, c.Close()
}

// dialRTPEngine waits until it answers.
func dialRTPEngine(control string) (*rtpengine, error) {
	conn, err := net.Dial("udp4", control)
	if err != nil {
		return nil, err
	}
	e := &rtpengine{control: conn}
	for range 100 {
		if _, err = e.ask("d7:command4:pinge"); err == nil {
			return e, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.Join(err, conn.Close())
}

// ask sends a bencoded dictionary and returns the one that answers it.
func (e *rtpengine) ask(dictionary string) (string, error) {
	e.asked++
	cookie := strconv.Itoa(e.asked) + " "
	if _, err := e.control.Write([]byte(cookie + dictionary)); err != nil {
		return "", err
	}
	if err := e.control.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	answer := make([]byte, 64<<10)
	for {
		n, err := e.control.Read(answer)
		if err != nil {
			return "", err
		}
		if text, mine := strings.CutPrefix(string(answer[:n]), cookie); mine {
			return text, nil
		}
	}
}

// direct makes a call of each pipe and aims the load at the ports it was given.
func (e *rtpengine) direct(l *load) error {
	for i, p := range l.pipes {
		var at [2]uint16 // where it listens for the end of that leg
		tag := "1"       // of the a=crypto line
		for leg, command := range []string{"offer", "answer"} {
			sdp, err := e.describe(command, i, pipeEnd{p.To[leg], p.Keys[leg], tag}, p.Keys[1-leg].Suite != "")
			if err != nil {
				return err
			}
			if at[1-leg], err = portOf(sdp); err != nil {
				return err
			}
			tag = tagFor(sdp, p.Keys[1-leg].Suite)
		}
		for leg, port := range at {
			l.streams[2*i+leg].to, _ = newRawAddr(netip.AddrPortFrom(loopback, port), unix.AF_INET)
		}
	}
	return nil
}

// pipeEnd is one end of a pipe: its port, its keys, and the tag of its a=crypto line.
type pipeEnd struct {
	port uint16
	keys benchKeys
	tag  string
}

// sdp is the end's description.
func (p pipeEnd) sdp() string {
	head := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	if p.keys.Suite == "" {
		return head + fmt.Sprintf("m=audio %d RTP/AVP 0\r\n", p.port)
	}
	return head + fmt.Sprintf("m=audio %d RTP/SAVP 0\r\na=crypto:%s %s inline:%s\r\n", p.port, p.tag, p.keys.Suite, p.keys.Theirs)
}

// tagFor is the tag of a suite's line in an SDP.
func tagFor(sdp, suite string) string {
	for line := range strings.Lines(sdp) {
		f := strings.Fields(strings.TrimPrefix(line, "a=crypto:"))
		if strings.HasPrefix(line, "a=crypto:") && len(f) > 2 && f[1] == suite {
			return f[0]
		}
	}
	return "1"
}

// describe gives it an end's SDP and returns the one for the other end.
func (e *rtpengine) describe(command string, call int, end pipeEnd, otherSecure bool) (string, error) {
	text := func(s string) string { return fmt.Sprintf("%d:%s", len(s), s) }
	profile := "RTP/AVP"
	if otherSecure {
		profile = "RTP/SAVP"
	}
	all := []string{"DTLS", "off", "ICE", "remove", "call-id", fmt.Sprint("call", call), "command", command, "from-tag", "a", "sdp", end.sdp(),
		"transport-protocol", profile}
	if command == "answer" {
		all = append(all, "to-tag", "b")
	}
	var d strings.Builder
	for _, s := range all {
		d.WriteString(text(s))
	}
	answer, err := e.ask("d" + d.String() + "e")
	if err == nil && (!strings.Contains(answer, "m=audio ") || otherSecure != strings.Contains(answer, "a=crypto:")) {
		err = fmt.Errorf("rtpengine: %s", answer)
	}
	return answer, err
}

// portOf is the port of an SDP's audio.
func portOf(sdp string) (uint16, error) {
	_, media, _ := strings.Cut(sdp, "m=audio ")
	word, _, _ := strings.Cut(media, " ")
	port, err := strconv.ParseUint(word, 10, 16)
	return uint16(port), err //nolint:gosec // parsed as 16 bits
}

func (e *rtpengine) close(b *testing.B) {
	b.Helper()
	if err := e.control.Close(); err != nil {
		b.Error(err)
	}
}
