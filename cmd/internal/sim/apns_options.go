package sim

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
)

// DefaultAPNsApps are those of the development set-up.
func DefaultAPNsApps() APNsApps {
	return APNsApps{TeamID: daemon.DevTeam, KeyID: daemon.DevKey, Bundles: []string{daemon.DevBundle}}
}

// check finds what is wrong before anything is started, and reads the file of
// faults.
func (o *APNsOptions) check() (apnssim.Trouble, error) {
	host, _, err := net.SplitHostPort(o.Listen.Admin)
	if err != nil {
		return apnssim.Trouble{}, fmt.Errorf("%w: --admin: %w", ErrAPNsOption, err)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return apnssim.Trouble{}, fmt.Errorf("%w: --admin %s: the admin API has no authentication and listens on loopback only", ErrAPNsOption, o.Listen.Admin)
	}
	if len(o.Apps.Bundles) == 0 {
		return apnssim.Trouble{}, fmt.Errorf("%w: --bundle: at least one app", ErrAPNsOption)
	}
	if o.Expect < 0 || o.For < 0 || o.NetDelay < 0 {
		return apnssim.Trouble{}, fmt.Errorf("%w: --expect, --for and --net-delay are not negative", ErrAPNsOption)
	}
	for _, text := range o.Devices {
		if _, _, err := parseDevice(text); err != nil {
			return apnssim.Trouble{}, err
		}
	}
	if o.FaultsFile == "" {
		return apnssim.Trouble{}, nil
	}
	return readTrouble(o.FaultsFile)
}

// names are the host names of the server certificate, nil for the default.
func (o *APNsOptions) names() []string {
	if len(o.Listen.Names) == 0 {
		return nil
	}
	return append([]string{"localhost", "127.0.0.1", "::1", "api.push.apple.com", "api.sandbox.push.apple.com", "api.development.push.apple.com"}, o.Listen.Names...)
}

// readTrouble reads YAML, of which JSON is a part.
func readTrouble(file string) (apnssim.Trouble, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return apnssim.Trouble{}, fmt.Errorf("%w: %w", ErrAPNsFaults, err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return apnssim.Trouble{}, fmt.Errorf("%w: %s: %w", ErrAPNsFaults, file, err)
	}
	b, err := json.Marshal(document)
	if err != nil {
		return apnssim.Trouble{}, fmt.Errorf("%w: %s: %w", ErrAPNsFaults, file, err)
	}
	if document == nil { // an empty file
		b = []byte("{}")
	}
	t, err := apnssim.ParseTrouble(b)
	if err != nil {
		return apnssim.Trouble{}, fmt.Errorf("%w: %s: %w", ErrAPNsFaults, file, err)
	}
	return t, nil
}

// parseDevice reads NAME or NAME:ENVIRONMENT.
func parseDevice(text string) (string, apnssim.Environment, error) {
	name, env, found := strings.Cut(text, ":")
	if !found {
		env = string(apnssim.Production)
	}
	e := apnssim.Environment(env)
	if name == "" || e != apnssim.Production && e != apnssim.Sandbox {
		return "", "", fmt.Errorf("%w: --device %q is not NAME, NAME:production or NAME:sandbox", ErrAPNsOption, text)
	}
	return name, e, nil
}

// deviceInfo is a phone for whoever is to push to it.
type deviceInfo struct {
	Name        string              `json:"name"`
	Environment apnssim.Environment `json:"environment"`
	Bundle      string              `json:"bundle_id"`
	VoIPToken   string              `json:"voip_token"`
	AlertToken  string              `json:"alert_token"`
}

func (a *apns) addDevices() error {
	for _, text := range a.opts.Devices {
		name, env, err := parseDevice(text)
		if err != nil {
			return err
		}
		d := a.sim.NewDevice(name)
		if err := d.UseEnvironment(env); err != nil {
			return err
		}
		for _, bundle := range a.opts.Apps.Bundles {
			a.devices = append(a.devices, deviceInfo{
				Name: name, Environment: env, Bundle: bundle,
				VoIPToken: d.RegisterVoIP(bundle), AlertToken: d.RegisterAlert(bundle),
			})
		}
	}
	return nil
}
