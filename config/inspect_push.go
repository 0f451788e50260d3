package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func (in *inspector) push() {
	p := in.cfg.Push
	if ring := in.cfg.Calls.RingTimeout; p.WakeTimeout >= ring {
		in.at(in.first("push.wake_timeout", "calls.ring_timeout"),
			fmt.Sprintf("push.wake_timeout (%s) is not shorter than calls.ring_timeout (%s), which contains it",
				FormatDuration(p.WakeTimeout), FormatDuration(ring)),
			"leave the user time to answer, for example wake_timeout: 30s and ring_timeout: 50s")
	}
	in.ordered("push.expires", Expires(p.Expires))
	if p.DeviceTTL < p.Expires.Default {
		in.at(in.first("push.device_ttl", "push.expires.default"),
			fmt.Sprintf("push.device_ttl (%s) is shorter than push.expires.default (%s): a phone would be forgotten while it is registered",
				FormatDuration(p.DeviceTTL), FormatDuration(p.Expires.Default)),
			"choose a device_ttl of some months")
	}
	bundles, projects := map[string]holder{}, map[string]holder{}
	for i, app := range p.Apps {
		path := fmt.Sprintf("push.apps[%d]", i)
		if app.Provider == "fcm" {
			in.once(path+".project_id", app.ProjectID, "project", "", projects)
			in.androidApp(app, path)
			continue
		}
		in.once(path+".bundle_id", app.BundleID, "bundle", "", bundles)
		in.app(app, path)
	}
	for path, service := range map[string]string{
		"push.apns.production": p.APNs.Production, "push.apns.sandbox": p.APNs.Sandbox,
	} {
		if !isService(service) {
			in.at(path, strconv.Quote(service)+" is not an https URL of a host", "write for example https://api.push.apple.com")
		}
	}
	if !isService(p.FCM.URL) {
		in.at("push.fcm.url", strconv.Quote(p.FCM.URL)+" is not an https URL of a host", "write for example https://fcm.googleapis.com")
	}
	if p.FCM.CAFile != "" {
		in.authorities("push.fcm.ca_file", p.FCM.CAFile)
	}
	if p.APNs.CAFile != "" {
		in.authorities("push.apns.ca_file", p.APNs.CAFile)
	}
}

func (in *inspector) app(app App, path string) {
	in.needed(path+".bundle_id", app.BundleID, "pushes go to the topic of that app")
	in.needed(path+".team_id", app.TeamID, "Apple must be told whose app it is")
	in.foreign(path, "fcm", "project_id", "service_account_file")
	if app.BundleID != "" && !regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`).MatchString(app.BundleID) {
		in.at(path+".bundle_id", strconv.Quote(app.BundleID)+" is not a bundle identifier",
			"copy it from Xcode, for example com.example.phone")
	} else if bundle, isTopic := strings.CutSuffix(app.BundleID, ".voip"); isTopic {
		in.at(path+".bundle_id", "is the topic of VoIP pushes, not the bundle identifier", "write "+bundle)
	}
	const closest = 2 * time.Second
	if app.AlertRepeat > 0 && app.AlertRepeat < closest {
		in.at(path+".alert_repeat", FormatDuration(app.AlertRepeat)+" is too often: APNs keeps only the newest of them anyway",
			"write 2s or more, or 0s for no repetition")
	}
	in.appleID(path+".team_id", app.TeamID, "team", "see developer.apple.com, Membership")
	ids := map[string]holder{}
	for i, key := range app.Keys {
		keyPath := fmt.Sprintf("%s.keys[%d]", path, i)
		if key.ID == "" {
			in.at(keyPath+".id", "is missing: Apple must be told which key signs", keyIDHint(key.File))
		}
		in.appleID(keyPath+".id", key.ID, "key", keyIDHint(key.File))
		in.once(keyPath+".id", key.ID, "key", "", ids)
		if key.File != "" {
			in.signingKey(keyPath+".file", key.File)
		}
	}
	in.clientCertificates(app, path)
	if len(app.Keys) == 0 && app.VoIPCertificate.File == "" && app.AlertCertificate.File == "" {
		in.at(in.first(path+".keys", path), "has neither a key nor a certificate: nothing could be sent", "add keys, voip_certificate or alert_certificate")
	}
}

// appleID reports what is not one of Apple's ten-character identifiers.
func (in *inspector) appleID(path, id, what, cure string) {
	if id != "" && !regexp.MustCompile(`^[A-Z0-9]{10}$`).MatchString(id) {
		in.at(path, fmt.Sprintf("%q is not a %s identifier: ten capital letters and digits", id, what), cure)
	}
}

// keyIDHint reads the identifier out of the name that Apple gives the file.
func keyIDHint(file string) string {
	parts := regexp.MustCompile(`^AuthKey_([A-Z0-9]{10})\.p8$`).FindStringSubmatch(filepath.Base(file))
	if parts != nil {
		return "write id: " + parts[1]
	}
	return "see developer.apple.com, Keys: ten characters, also in the name of the downloaded file"
}
