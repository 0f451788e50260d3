package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"wakebridge/push/apnssim"
)

// apnsPrinter prints a run, for people or as JSON lines.
type apnsPrinter struct {
	out  io.Writer
	json bool
	// told is what was printed of an entry, by its Seq.
	told                      map[uint64]apnssim.Delivered
	accepted, refused, failed int
}

func newAPNsPrinter(out io.Writer, opts APNsOptions) *apnsPrinter {
	return &apnsPrinter{out: out, json: opts.JSON, told: make(map[uint64]apnssim.Delivered)}
}

// remembered is how many entries may still get another line. The journal holds
// no more.
const remembered = 4096

// entry prints a push once its answer is decided, and again when more becomes of
// it on its way to the device.
func (p *apnsPrinter) entry(e apnssim.Entry) error {
	if !e.Concluded {
		return nil
	}
	before, again := p.told[e.Seq]
	if again && before == e.Delivery {
		return nil
	}
	p.told[e.Seq] = e.Delivery
	if !again {
		delete(p.told, e.Seq-remembered) // below 0 it wraps, to what does not exist
		p.count(e)
	}
	if p.json {
		return p.line(struct {
			Event string `json:"event"`
			apnssim.ShownEntry
		}{"push", e.Shown()})
	}
	_, err := fmt.Fprintln(p.out, pushLine(e))
	return err
}

// count sorts a push by who decided its fate: a fault rule or a sender that left,
// or the checks.
func (p *apnsPrinter) count(e apnssim.Entry) {
	switch {
	case e.AnsweredAt.IsZero() || e.Fault == apnssim.Respond:
		p.failed++
	case e.Verdict.Status == 200:
		p.accepted++
	default:
		p.refused++
	}
}

// pushLine is a push on one line. What a sender wrote is quoted where it could be
// anything.
func pushLine(e apnssim.Entry) string {
	token := e.Token()
	if len(token) > 4 {
		token = "…" + token[len(token)-4:]
	}
	parts := []string{
		e.ReceivedAt.Format("15:04:05.000"), fmt.Sprintf("#%d", e.Seq), string(e.Environment),
		word(e.Get("apns-push-type")), word(e.Get("apns-topic")), word(token), result(e),
	}
	if e.Delivery != apnssim.Undecided {
		parts = append(parts, string(e.Delivery))
	}
	if e.Fault != "" {
		parts = append(parts, "fault="+string(e.Fault))
	}
	return strings.Join(append(parts, "apns-id="+e.APNsID), "  ")
}

func result(e apnssim.Entry) string {
	switch {
	case e.AnsweredAt.IsZero():
		return "no answer"
	case e.Verdict.Reason == "":
		return fmt.Sprint(e.Verdict.Status)
	}
	return fmt.Sprintf("%d %s", e.Verdict.Status, e.Verdict.Reason)
}

// word keeps a header's value on its line, and visible when it is empty.
func word(s string) string {
	q := fmt.Sprintf("%q", s)
	if s != "" && !strings.Contains(s, " ") && q == `"`+s+`"` {
		return s
	}
	return q
}

// end prints the sum.
func (p *apnsPrinter) end() error {
	if p.json {
		return p.line(map[string]any{"event": "end", "accepted": p.accepted, "refused": p.refused, "failed": p.failed})
	}
	_, err := fmt.Fprintf(p.out, "end: %d accepted, %d refused, %d failed by a fault or given up\n", p.accepted, p.refused, p.failed)
	return err
}

// notStarted prints why there is no APNs, if JSON was asked for, and returns it.
func (p *apnsPrinter) notStarted(err error) error {
	if !p.json {
		return err
	}
	return errors.Join(err, p.line(map[string]any{"event": "failed", "error": err.Error()}))
}

func (p *apnsPrinter) line(v any) error { return json.NewEncoder(p.out).Encode(v) }

// ready says how to use the simulator; the last line, or the only document, says
// that it can be used now.
func (p *apnsPrinter) ready(a *apns) error {
	if p.json {
		return p.line(map[string]any{
			"event": "ready", "sandbox": a.sim.URL(apnssim.Sandbox), "production": a.sim.URL(apnssim.Production), "admin": a.adminURL(),
			"ca_file": a.files.ca, "key_file": a.files.key, "key_id": a.opts.Apps.KeyID, "team_id": a.opts.Apps.TeamID,
			"bundle_ids": a.opts.Apps.Bundles, "certificates": a.files.certificates, "p12_password_file": a.files.password,
			"devices": a.devices,
		})
	}
	snippet, err := a.snippet()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "An APNs of your own. For wakebridge's configuration:\n\n%s\n", snippet)
	fmt.Fprintf(&b, "For other senders, over HTTP/2: POST %s/3/device/TOKEN (sandbox: %s),\n", a.sim.URL(apnssim.Production), a.sim.URL(apnssim.Sandbox))
	fmt.Fprintf(&b, "trusting the CA %s, with JWTs by the key\n%s (id %s, team %s)", a.files.ca, a.files.key, a.opts.Apps.KeyID, a.opts.Apps.TeamID)
	if len(a.files.certificates) > 0 {
		fmt.Fprintf(&b, ", or a client certificate (.p12 password in %s):", a.files.password)
		for _, c := range a.files.certificates {
			fmt.Fprintf(&b, "\n  %-5s  %s  %s  %s", c.Kind, c.Bundle, c.PEM, c.P12)
		}
	}
	b.WriteString("\n\n")
	for _, d := range a.devices {
		fmt.Fprintf(&b, "Device %s (%s), %s:\n  voip token   %s\n  alert token  %s\n", d.Name, d.Environment, d.Bundle, d.VoIPToken, d.AlertToken)
	}
	fmt.Fprintf(&b, "\nA phone: wakebridge sim phone --apns %s\n", a.adminURL())
	fmt.Fprintf(&b, "Faults, devices and the journal: %s/v1/status, /v1/faults, /v1/devices, /v1/journal\n\n", a.adminURL())
	fmt.Fprintf(&b, "ready: production %s sandbox %s admin %s\n", a.sim.URL(apnssim.Production), a.sim.URL(apnssim.Sandbox), a.adminURL())
	_, err = io.WriteString(p.out, b.String())
	return err
}

func (a *apns) adminURL() string { return "http://" + a.admin.Addr().String() }

// snippet is the part of wakebridge's configuration that points to the
// simulator. Certificates are in comments, as an app has either.
func (a *apns) snippet() (string, error) {
	type key struct {
		File string `yaml:"file"`
		ID   string `yaml:"id"`
	}
	type app struct {
		BundleID string `yaml:"bundle_id"`
		TeamID   string `yaml:"team_id"`
		Keys     []key  `yaml:"keys,flow"`
	}
	var apps []app
	for _, bundle := range a.opts.Apps.Bundles {
		apps = append(apps, app{bundle, a.opts.Apps.TeamID, []key{{a.files.key, a.opts.Apps.KeyID}}})
	}
	out, err := yaml.Marshal(map[string]any{"push": map[string]any{
		"apps": apps,
		"apns": map[string]string{
			"production": a.sim.URL(apnssim.Production), "sandbox": a.sim.URL(apnssim.Sandbox), "ca_file": a.files.ca,
		},
	}})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Write(out)
	for _, c := range a.files.certificates {
		fmt.Fprintf(&b, "# in place of keys, app %s: %s_certificate: { file: %q, password_file: %q }\n", c.Bundle, c.Kind, c.P12, a.files.password)
	}
	return b.String(), nil
}
