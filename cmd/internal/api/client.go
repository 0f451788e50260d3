package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// ErrServer says that what answered, if anything did, is no running Wakebridge.
var ErrServer = errors.New("no answer from a Wakebridge")

// Client asks a running server.
type Client struct {
	// Server is its base URL, for example http://127.0.0.1:8080.
	Server string
	// TokenFile holds the bearer token of http.token_file; "" for none.
	TokenFile string
}

// maxAnswer bounds what is read of an answer, in bytes; clientTimeout how long it
// may take beyond the wait that was asked for.
const (
	maxAnswer     = 4 << 20
	clientTimeout = 45 * time.Second
)

// TestPush asks for a test push. Errors: a Problem, which says why the server
// did not try; ErrServer; those of reading TokenFile.
func (c Client) TestPush(ctx context.Context, req PushRequest) (PushOutcome, error) {
	var out PushOutcome
	limit := clientTimeout
	if wait, err := time.ParseDuration(req.Wait); err == nil && wait > 0 {
		limit += min(wait, LongestWait)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c.post(ctx, "/v1/push/test", req, &out)
	return out, err
}

// captureTimeout is how long a capture may take on its way.
const captureTimeout = 10 * time.Minute

// Capture writes the capture of a call to w. Errors: a Problem, which says why there is
// none; ErrServer; those of w and of reading TokenFile.
func (c Client) Capture(ctx context.Context, id string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, captureTimeout)
	defer cancel()
	res, err := c.ask(ctx, http.MethodGet, "/v1/calls/"+url.PathEscape(id)+"/pcap", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(w, res.Body)
	if err == nil && n != res.ContentLength {
		err = fmt.Errorf("%w: %d bytes of %d", ErrServer, n, res.ContentLength)
	}
	return err
}

func (c Client) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	res, err := c.ask(ctx, http.MethodPost, path, text)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	return nil
}

// ask sends a request, with JSON if there is a body. An answer that is not 200 is an
// error: the Problem that it holds.
func (c Client) ask(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	base, err := url.Parse(c.Server)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("%w: %q is no URL such as http://127.0.0.1:8080", ErrServer, c.Server)
	}
	req, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; is the server running, and is http.bind this address?", ErrServer, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var problem Problem
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&problem); err != nil || problem.Title == "" {
		return nil, fmt.Errorf("%w: HTTP %d", ErrServer, res.StatusCode)
	}
	return nil, problem
}

// Explain tells a person what became of the pushes.
func (o PushOutcome) Explain(w io.Writer) error {
	var b strings.Builder
	for i, r := range o.Reports {
		if i > 0 {
			b.WriteString("\n")
		}
		r.explain(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r PushReport) explain(b *strings.Builder) {
	fmt.Fprintf(b, "%s push to", r.Kind)
	for _, part := range []string{r.User, r.Device, r.App, r.Token} {
		if part != "" {
			b.WriteString(" " + part)
		}
	}
	b.WriteString("\n")
	for _, s := range r.Stages {
		word := "ok"
		switch {
		case !s.OK && r.Skipped:
			word = "skip"
		case !s.OK:
			word = "FAILED"
		}
		fmt.Fprintf(b, "  %-6s  %-14s  %6d ms  %s\n", word, s.Name, s.TookMS, s.Text)
		if s.Cure != "" {
			fmt.Fprintf(b, "  %-6s  %-14s  %9s  cure: %s\n", "", "", "", s.Cure)
		}
	}
}
