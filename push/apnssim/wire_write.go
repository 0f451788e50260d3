package apnssim

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	writeTimeout = 5 * time.Second // for one flush; a peer that does not read loses its connection
	maxQueued    = 16384           // frames waiting for a peer that does not read
)

var (
	errCut      = errors.New("apnssim: connection cut by a fault rule")
	errOverflow = errors.New("apnssim: peer does not read")
)

// outbox is the one way out of a connection: frames queue without blocking and
// run writes them in order.
type outbox struct {
	mu     sync.Mutex
	queue  []func(*frameWriter) error
	closed bool
	muted  bool
	full   bool
	wake   chan struct{} // holds one token when there is something to do
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// frameWriter turns frames into bytes. Header compression has state, so only
// the writing goroutine encodes.
type frameWriter struct {
	w       *bufio.Writer
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
}

func newFrameWriter(w io.Writer) *frameWriter {
	fw := &frameWriter{w: bufio.NewWriter(w)}
	fw.framer = http2.NewFramer(fw.w, nil)
	fw.encoder = hpack.NewEncoder(&fw.block)
	return fw
}

func (fw *frameWriter) encode(fields []Field) ([]byte, error) {
	fw.block.Reset()
	for _, f := range fields {
		if err := fw.encoder.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value}); err != nil {
			return nil, err
		}
	}
	return fw.block.Bytes(), nil
}

// run writes until the outbox is closed and empty, or a write fails.
func (o *outbox) run(nc net.Conn) error {
	fw := newFrameWriter(nc)
	for {
		batch, closed, full := o.take()
		if full {
			return errOverflow
		}
		if len(batch) > 0 {
			if err := nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return err
			}
		}
		for _, write := range batch {
			if err := write(fw); err != nil {
				return err
			}
		}
		if err := fw.w.Flush(); err != nil {
			return err
		}
		if closed && len(batch) == 0 {
			return nil
		}
		if !closed {
			<-o.wake
		}
	}
}

func (o *outbox) take() (batch []func(*frameWriter) error, closed, full bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch, o.queue = o.queue, nil
	return batch, o.closed, o.full
}

func (o *outbox) put(write func(*frameWriter) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.muted || o.full {
		return
	}
	if len(o.queue) >= maxQueued {
		o.full = true
	} else {
		o.queue = append(o.queue, write)
	}
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// close lets run finish what is queued and return.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

// mute drops what is queued and all that comes, for good.
func (o *outbox) mute() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.muted = true
	o.queue = nil
}

func (o *outbox) silent() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.muted
}

func (o *outbox) settings(s ...http2.Setting) {
	o.put(func(fw *frameWriter) error { return fw.framer.WriteSettings(s...) })
}

func (o *outbox) settingsAck() {
	o.put(func(fw *frameWriter) error { return fw.framer.WriteSettingsAck() })
}

func (o *outbox) pong(data [8]byte) {
	o.put(func(fw *frameWriter) error { return fw.framer.WritePing(true, data) })
}

func (o *outbox) windowUpdate(id, n uint32) {
	o.put(func(fw *frameWriter) error { return fw.framer.WriteWindowUpdate(id, n) })
}

func (o *outbox) reset(id uint32, code http2.ErrCode) {
	o.put(func(fw *frameWriter) error { return fw.framer.WriteRSTStream(id, code) })
}

func (o *outbox) goAway(last uint32, code http2.ErrCode, debug []byte) {
	o.put(func(fw *frameWriter) error { return fw.framer.WriteGoAway(last, code, debug) })
}

func (o *outbox) data(id uint32, b []byte, end bool) {
	o.put(func(fw *frameWriter) error { return fw.framer.WriteData(id, end, b) })
}

// tableSize follows the peer's SETTINGS_HEADER_TABLE_SIZE.
func (o *outbox) tableSize(n uint32) {
	o.put(func(fw *frameWriter) error {
		fw.encoder.SetMaxDynamicTableSizeLimit(n)
		return nil
	})
}

func (o *outbox) headers(id uint32, fields []Field, end bool) {
	o.put(func(fw *frameWriter) error {
		block, err := fw.encode(fields)
		if err != nil {
			return err
		}
		return fw.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end,
		})
	})
}

// cut writes half of a HEADERS frame and then fails, which ends the connection
// without a TLS goodbye.
func (o *outbox) cut(id uint32, fields []Field) {
	o.put(func(fw *frameWriter) error {
		block, err := fw.encode(fields)
		if err != nil {
			return err
		}
		var frame bytes.Buffer
		err = http2.NewFramer(&frame, nil).WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true,
		})
		if err != nil {
			return err
		}
		if _, err := fw.w.Write(frame.Bytes()[:frame.Len()/2]); err != nil {
			return err
		}
		if err := fw.w.Flush(); err != nil {
			return err
		}
		return errCut
	})
}
