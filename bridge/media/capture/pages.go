package capture

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// blockOverhead bounds what a block takes besides the payload and comments: headers of
// pcapng, Ethernet, IPv6 and UDP, options, padding.
const blockOverhead = 192

// fileOverhead bounds what a file takes besides its packets.
const fileOverhead = 2048

// header is what a file says of itself.
type header struct{ version, comment string }

// pages is the file of a recording.
type pages struct {
	file     *os.File
	out      *pcapgo.NgWriter
	frames   framer
	written  int64 // bytes in the file
	promised int64 // bytes that the disk has counted for it
	limit    int64
	count    [kinds]uint64
	lost     [kinds]uint64
	first    time.Time
	full     bool // for media
	broken   bool
}

// Write counts what goes to the file.
func (p *pages) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.written += int64(n)
	return n, err
}

// open makes the file, with one interface per kind.
func (p *pages) open(path string, h header) error {
	var err error
	if p.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	faces := [kinds]pcapgo.NgInterface{
		mediaPacket: {Name: "media", Description: "RTP and RTCP"},
		signalling:  {Name: "sip", Description: "SIP of both legs"},
		remark:      {Name: "wakebridge", Description: "pushes and decisions, as syslog packets that nobody sent"},
	}
	for i := range faces {
		faces[i].LinkType, faces[i].TimestampResolution = layers.LinkTypeEthernet, 9
	}
	p.out, err = pcapgo.NewNgWriterInterface(p, faces[0], pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{Application: "Wakebridge " + h.version, Comment: h.comment},
	})
	for _, f := range faces[1:] {
		if err == nil {
			_, err = p.out.AddInterface(f)
		}
	}
	return err
}

// add writes one packet.
func (p *pages) add(it *item, data []byte) error {
	var options pcapgo.NgPacketOptions
	switch it.kind {
	case mediaPacket:
		if it.text != "" {
			options.Comments = append(options.Comments, it.text)
		}
	case signalling:
		if it.text != "UDP" {
			options.Comments = append(options.Comments, "over "+it.text)
		}
		if over := len(data) - maxPayload; over > 0 {
			data, it.length = data[:maxPayload], maxPayload
			options.Comments = append(options.Comments, fmt.Sprintf("the last %d octets are cut off", over))
		}
	case remark:
		options.Comments = append(options.Comments, it.text)
		data = []byte("<14>wakebridge: " + it.text) // user.info, RFC 3164 s4.1.1
		it.length, it.from, it.to = len(data), syslog, syslog
	}
	packet, length, err := p.frames.frame(it, data)
	if err != nil {
		return err
	}
	if p.first.IsZero() {
		p.first = it.at
	}
	p.count[it.kind]++
	return p.out.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: it.at, CaptureLength: len(packet), Length: length, InterfaceIndex: int(it.kind),
	}, packet, options)
}

func (p *pages) flush() error { return p.out.Flush() }

// finish writes the statistics and makes the file durable.
func (p *pages) finish(now time.Time) error {
	for i := range p.count {
		err := p.out.WriteInterfaceStats(i, pcapgo.NgInterfaceStatistics{
			LastUpdate: now, StartTime: p.first, EndTime: now, PacketsReceived: p.count[i] + p.lost[i], PacketsDropped: p.lost[i],
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(p.flush(), p.file.Sync(), p.file.Close())
}

// close closes a file that is given up.
func (p *pages) close() error {
	if p.file == nil {
		return nil
	}
	if err := p.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
