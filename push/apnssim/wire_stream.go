package apnssim

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// keepBody bounds the body bytes kept per request: one more than the largest
// payload, the rest is only counted.
const keepBody = 5121

// Field is one header field of a request, its name in lower case.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// request is what a client sent on one stream.
type request struct {
	env      Environment
	received time.Time // HEADERS read
	method   string
	path     string
	header   []Field // without pseudo-header fields, in order
	body     []byte  // at most keepBody bytes
	size     int     // bytes of the whole body
}

// values returns every value of a header field, in order.
func (r *request) values(name string) []string {
	var v []string
	for _, f := range r.header {
		if f.Name == name {
			v = append(v, f.Value)
		}
	}
	return v
}

// get returns the first value of a header field, or an empty string.
func (r *request) get(name string) string {
	for _, f := range r.header {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// reply is a whole response.
type reply struct {
	status int
	header []Field
	body   []byte
}

// stream is one request and its answer. Guarded by conn.mu.
type stream struct {
	conn     *conn
	id       uint32
	req      request
	complete bool // END_STREAM was read
	// processed: its push is, or will be, what the answer says.
	processed bool
	window    int64
	pending   []byte // body not yet sent
}

func (c *conn) onHeaders(f *http2.MetaHeadersFrame) error {
	st, err := c.openStream(f)
	if st != nil && st.complete {
		c.sim.serve(st)
	}
	return err
}

func (c *conn) openStream(f *http2.MetaHeadersFrame) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.streams[f.StreamID]; st != nil { // trailers
		if st.complete || !f.StreamEnded() {
			return nil, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
		st.complete = true
		return st, nil
	}
	if f.StreamID%2 == 0 {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if f.StreamID <= c.highest || f.StreamID > c.last {
		return nil, nil // closed by us moments ago, or beyond our GOAWAY
	}
	c.highest = f.StreamID
	if len(c.streams) >= int(c.limits.allowed()) {
		c.sim.stats.refused()
		return nil, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeRefusedStream}
	}
	method, path := f.PseudoValue("method"), f.PseudoValue("path")
	if f.Truncated || method == "" || path == "" || f.PseudoValue("scheme") == "" {
		return nil, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	st := &stream{conn: c, id: f.StreamID, window: c.initial, complete: f.StreamEnded()}
	st.req = request{env: c.env, received: c.sim.cfg.Now(), method: method, path: path, header: fields(f.RegularFields())}
	c.streams[st.id] = st
	c.used = time.Now()
	c.sim.stats.streams(len(c.streams))
	return st, nil
}

func fields(from []hpack.HeaderField) []Field {
	to := make([]Field, len(from))
	for i, f := range from {
		to[i] = Field{Name: strings.ToLower(f.Name), Value: f.Value}
	}
	return to
}

func (c *conn) onData(f *http2.DataFrame) error {
	st, err := c.takeData(f)
	if st != nil && st.complete {
		c.sim.serve(st)
	}
	return err
}

func (c *conn) takeData(f *http2.DataFrame) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID > c.highest {
		return nil, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if f.Length > 0 {
		c.out.windowUpdate(0, f.Length)
	}
	st := c.streams[f.StreamID]
	if st == nil {
		return nil, nil
	}
	if st.complete {
		return nil, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	st.req.size += len(f.Data())
	room := keepBody - len(st.req.body)
	st.req.body = append(st.req.body, f.Data()[:min(room, len(f.Data()))]...)
	st.complete = f.StreamEnded()
	if !st.complete && f.Length > 0 {
		c.out.windowUpdate(f.StreamID, f.Length)
	}
	return st, nil
}

func (c *conn) onReset(f *http2.RSTStreamFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, f.StreamID)
	c.drained()
}

// refuse resets a stream that we will not serve.
func (c *conn) refuse(id uint32, code http2.ErrCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.highest = max(c.highest, id)
	delete(c.streams, id)
	c.out.reset(id, code)
	c.drained()
}

// answer sends the response and, where it changes the stream limit, the new
// limit before it: a client that has its answer knows the limit, and need not
// dial again for its next push. note is called first. Nothing happens when the
// stream is gone.
func (st *stream) answer(r reply, limit uint32, note func()) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[st.id] != st {
		return
	}
	note()
	if limit != 0 && limit != c.limits.announced() {
		c.limits.sent(limit)
		c.out.settings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: limit})
	}
	st.pending = r.body
	c.out.headers(st.id, r.fields(), len(r.body) == 0)
	if len(r.body) == 0 {
		c.finish(st)
	} else {
		c.flush(st)
	}
}

// cut sends half of the response's first frame and closes the connection.
func (st *stream) cut(r reply) { st.conn.out.cut(st.id, r.fields()) }

// reset answers with RST_STREAM.
func (st *stream) reset(code http2.ErrCode) { st.conn.refuse(st.id, code) }

func (r reply) fields() []Field {
	return append([]Field{{":status", strconv.Itoa(r.status)}}, r.header...)
}

// flush sends as much of a stream's body as both windows allow. c.mu is held.
func (c *conn) flush(st *stream) {
	for len(st.pending) > 0 {
		n := min(int64(len(st.pending)), c.window, st.window, maxFrame)
		if n <= 0 {
			return
		}
		c.window -= n
		st.window -= n
		chunk := st.pending[:n]
		st.pending = st.pending[n:]
		end := len(st.pending) == 0
		c.out.data(st.id, chunk, end)
		if end {
			c.finish(st)
		}
	}
}

func (c *conn) flushAll() {
	for _, st := range c.streams {
		c.flush(st)
	}
}

func (c *conn) finish(st *stream) {
	delete(c.streams, st.id)
	c.used = time.Now()
	c.drained()
}
