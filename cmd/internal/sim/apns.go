package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"wakebridge/push/apnssim"
)

// Errors of RunAPNs.
var (
	// ErrAPNsOption says that an option makes no sense; the text says which.
	ErrAPNsOption = errors.New("option")
	// ErrAPNsFaults says that the file of faults cannot be read or carried out.
	ErrAPNsFaults = errors.New("file of faults")
	// ErrAPNsFewer says that the time was over before APNsOptions.Expect pushes
	// had been accepted.
	ErrAPNsFewer = errors.New("fewer pushes were accepted than expected")
	// ErrAPNsRefused says that a push was refused, and not by a fault, with
	// APNsOptions.FailRefused.
	ErrAPNsRefused = errors.New("a push was refused")
)

// APNsOptions say what RunAPNs runs.
type APNsOptions struct {
	Listen APNsListen
	Apps   APNsApps
	// Dir is the folder for the CA, the key and the certificates; made if it is
	// not there. "": a temporary one, removed at the end.
	Dir string
	// Devices are phones that exist from the start, NAME or NAME:ENVIRONMENT
	// (production, sandbox). They have a token of each kind for each app.
	Devices []string
	// FaultsFile is a YAML or JSON file of fault rules and a network, as
	// apnssim.ParseTrouble reads it. "": none.
	FaultsFile string
	// NetDelay is how long a push takes to its device.
	NetDelay time.Duration
	// StrictThrottle: see apnssim.Config.
	StrictThrottle bool
	// Expect ends the run once so many pushes were accepted. 0: never.
	Expect int
	// For ends the run after so long. 0: never.
	For time.Duration
	// FailRefused makes the run fail if a push was refused other than by a fault.
	FailRefused bool
	// JSON prints one JSON document per line and no other text.
	JSON bool
	Log  *slog.Logger // required
}

// APNsListen says where to listen, HOST:PORT each; port 0 is a free one.
type APNsListen struct {
	Sandbox, Production string
	// Admin is for the admin API, which has no authentication: loopback only.
	Admin string
	// Names are more host names or addresses for the server certificate.
	Names []string
}

// APNsApps are the apps that can be pushed to, all of one team.
type APNsApps struct {
	TeamID, KeyID string
	Bundles       []string
	// Certificates asks for a VoIP and an alert certificate per app.
	Certificates bool
}

// apns is a run of the simulator.
type apns struct {
	opts    APNsOptions
	sim     *apnssim.Sim
	files   *folder
	admin   net.Listener
	devices []deviceInfo
}

// RunAPNs runs an APNs simulator until ctx ends, or as Expect and For say, and
// prints to out: how to use it, a line that it is ready, and each push.
// Errors: those above, and what kept it from starting or printing.
func RunAPNs(ctx context.Context, opts APNsOptions, out io.Writer) (err error) {
	p := newAPNsPrinter(out, opts)
	trouble, err := opts.check()
	if err != nil {
		return p.notStarted(err)
	}
	a := &apns{opts: opts, devices: []deviceInfo{}}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.start(trouble); err != nil {
		return p.notStarted(err)
	}
	var server http.Server
	server.Handler, server.ReadHeaderTimeout = a.sim.AdminHandler(), 10*time.Second
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.admin) }() // awaited below
	err = p.ready(a)
	if err == nil {
		err = a.follow(ctx, p)
	}
	err = errors.Join(err, a.sim.Close()) // ends the admin API's streams as well
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminGoodbye)
	defer cancel()
	if server.Shutdown(end) != nil { // a client that does not read
		err = errors.Join(err, server.Close())
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("admin API: %w", e))
	}
	return err
}

// adminGoodbye is how long a request to the admin API may take at the end.
const adminGoodbye = 2 * time.Second

// start makes the simulator and all that stands in the files.
func (a *apns) start(trouble apnssim.Trouble) error {
	if err := a.listen(trouble.Network); err != nil {
		return err
	}
	for _, r := range trouble.Rules {
		if _, err := a.sim.AddFault(r); err != nil {
			return fmt.Errorf("%w: %w", ErrAPNsFaults, err)
		}
	}
	if err := a.sim.AddTeam(a.opts.Apps.TeamID, a.opts.Apps.Bundles...); err != nil {
		return fmt.Errorf("%w: %w", ErrAPNsOption, err)
	}
	var err error
	if a.files, err = newFolder(a.opts.Dir); err != nil {
		return err
	}
	if err := a.files.fill(a.sim, a.opts.Apps); err != nil {
		return err
	}
	return a.addDevices()
}

// listen opens the three listeners and gives two of them to the simulator.
func (a *apns) listen(network apnssim.Network) error {
	var open []net.Listener
	for _, addr := range []string{a.opts.Listen.Sandbox, a.opts.Listen.Production, a.opts.Listen.Admin} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return errors.Join(err, closeAll(open))
		}
		open = append(open, ln)
	}
	var err error
	a.sim, err = apnssim.New(apnssim.Config{
		Sandbox: open[0], Production: open[1], Names: a.opts.names(), Network: network,
		NetDelay: a.opts.NetDelay, StrictThrottle: a.opts.StrictThrottle, Log: a.opts.Log,
	})
	if err != nil {
		return errors.Join(err, closeAll(open))
	}
	a.admin = open[2]
	return nil
}

func closeAll(open []net.Listener) error {
	var err error
	for _, ln := range open {
		err = errors.Join(err, ln.Close())
	}
	return err
}

func (a *apns) close() error {
	var err error
	if a.sim != nil {
		err = a.sim.Close()
		if e := a.admin.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	if a.files != nil {
		err = errors.Join(err, a.files.remove())
	}
	return err
}

// errEnough ends follow: Expect is reached.
var errEnough = errors.New("enough")

// follow prints pushes until the run is over, and says how it went.
func (a *apns) follow(ctx context.Context, p *apnsPrinter) error {
	if a.opts.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.opts.For)
		defer cancel()
	}
	err := a.sim.Follow(ctx, 0, func(e apnssim.Entry) error {
		if err := p.entry(e); err != nil {
			return err
		}
		if a.opts.Expect > 0 && p.accepted >= a.opts.Expect {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) && ctx.Err() == nil {
		return err // the output is gone
	}
	if err := p.end(); err != nil {
		return err
	}
	switch {
	case p.accepted < a.opts.Expect:
		return fmt.Errorf("%w: %d of %d", ErrAPNsFewer, p.accepted, a.opts.Expect)
	case a.opts.FailRefused && p.refused > 0:
		return fmt.Errorf("%w: %d", ErrAPNsRefused, p.refused)
	}
	return nil
}
