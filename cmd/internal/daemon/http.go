package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/pushtest"
)

// openHTTP serves the HTTP port. Until New has returned, /readyz says that the
// server is starting.
func (d *Daemon) openHTTP(ctx context.Context) error {
	if !d.cfg.HTTP.Bind.IsValid() {
		return nil
	}
	network := "tcp"
	if d.cfg.HTTP.Bind.Addr().Unmap().Is4() {
		network = "tcp4" // "0.0.0.0" would take IPv6 as well
	}
	ln, err := d.listenStream(ctx, network, d.cfg.HTTP.Bind)
	if err != nil {
		return fmt.Errorf("http.bind %s: %w", d.cfg.HTTP.Bind, explain(err))
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		d.httpAddr = a.AddrPort()
	}
	d.log.Info("listening", "transport", "http", "address", ln.Addr().String())
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		Handler:  d.api(),
	}
	served := make(chan struct{})
	go func() { // awaited by closeHTTP
		defer close(served)
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("HTTP server ended", "error", err)
		}
	}()
	d.onClose(func(context.Context) { d.closeHTTP(server, served) })
	return nil
}

// api is what the HTTP port answers. What the parts behind it need exists only
// when the server serves.
func (d *Daemon) api() http.Handler {
	return api.New(api.Config{
		Ready: d.Ready, Gatherer: d.registry, Token: d.cfg.HTTP.Token.Reveal(), Bound: d.httpAddr.Addr(), Version: d.opts.Version, Log: d.log,
		Serving: func() bool { return d.phase.Load() != starting }, Devices: newDevices(d), Pusher: pushtest.New(d.underTest), Captures: d,
	})
}

// lastAnswers is how long requests under way may take at the very end.
const lastAnswers = 2 * time.Second

// closeHTTP lets requests under way be answered, however little time the calls
// had; who reads too slowly is cut off.
func (d *Daemon) closeHTTP(server *http.Server, served <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		d.log.Warn("HTTP requests did not end in time", "error", err)
		d.logErr("HTTP", server.Close())
	}
	<-served
}
