package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua/header"
	"wakebridge/sipua/location"
)

func (h *handlers) listDevices(w http.ResponseWriter, r *http.Request) {
	user, problem := h.user(r.PathValue("user"))
	if problem != nil {
		h.fail(w, *problem)
		return
	}
	devices := h.cfg.Devices.Devices(user)
	if devices == nil {
		devices = []Device{}
	}
	reply(w, h.cfg.Log, http.StatusOK, map[string]any{"user": user, "devices": devices})
}

func (h *handlers) getDevice(w http.ResponseWriter, r *http.Request) {
	user, d, problem := h.device(r.PathValue("user"), r.PathValue("instance"))
	if problem != nil {
		h.fail(w, *problem)
		return
	}
	d.User = user
	reply(w, h.cfg.Log, http.StatusOK, d)
}

// putDevice announces tokens. The same request again changes nothing.
func (h *handlers) putDevice(w http.ResponseWriter, r *http.Request) {
	user, problem := h.user(r.PathValue("user"))
	if problem != nil {
		h.fail(w, *problem)
		return
	}
	instance, err := instanceID(r.PathValue("instance"))
	if err != nil {
		h.fail(w, Problem{Status: http.StatusBadRequest, Title: "Not an instance", Detail: err.Error(),
			Fix: "End the path with the app's +sip.instance, for example urn:uuid:00000000-0000-4000-8000-000000000001, escaped as in any URL."})
		return
	}
	var a Announcement
	if problem := readJSON(w, r, &a); problem != nil {
		h.fail(w, *problem)
		return
	}
	if problem := a.check(h.cfg.Devices.Apps()); problem != nil {
		h.fail(w, *problem)
		return
	}
	d, created, err := h.cfg.Devices.Announce(r.Context(), user, instance, a)
	switch {
	case errors.Is(err, ErrTokenInUse):
		h.fail(w, Problem{Status: http.StatusConflict, Title: "Another device uses this token", Detail: err.Error(),
			Fix: "Log the other device out (DELETE), or look at push.shared_token. A token of the other kind in this request was stored."})
	case errors.Is(err, ErrTokenDead):
		h.fail(w, Problem{Status: http.StatusConflict, Title: "The push service no longer knows this token", Detail: err.Error(),
			Fix: "Send the token that the app has now: it may have been removed, or installed again. A token of the other kind in this request was stored. " +
				"This one is taken again a day after its refusal, or at once when the app itself registers with it."})
	case err != nil:
		h.notStored(w, err)
	case created:
		w.Header().Set("Location", devicePath(user, instance))
		reply(w, h.cfg.Log, http.StatusCreated, d)
	default:
		reply(w, h.cfg.Log, http.StatusOK, d)
	}
}

func (h *handlers) deleteDevice(w http.ResponseWriter, r *http.Request) {
	user, d, problem := h.device(r.PathValue("user"), r.PathValue("instance"))
	if problem != nil {
		h.fail(w, *problem)
		return
	}
	if err := h.cfg.Devices.LogOut(r.Context(), user, d.Key); err != nil {
		h.notStored(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// notStored answers for a change that is not on the disk: 503, so that a backend
// tries again.
func (h *handlers) notStored(w http.ResponseWriter, err error) {
	h.cfg.Log.Error("a change over HTTP is not stored", "error", err)
	w.Header().Set("Retry-After", "5")
	h.fail(w, Problem{Status: http.StatusServiceUnavailable, Title: "Not stored", Detail: "the change could not be written",
		Fix: "Send the request again. If it goes on: look at the server's log and at the disk of node.data_dir."})
}

func devicePath(user, instance string) string {
	return "/v1/users/" + url.PathEscape(user) + "/devices/" + url.PathEscape(instance)
}

// user finds the one user that a path names.
func (h *handlers) user(name string) (string, *Problem) {
	found := h.cfg.Devices.Users(name)
	switch len(found) {
	case 0:
		return "", &Problem{Status: http.StatusNotFound, Title: "No such user", Detail: "no domain has the user " + quoteAll([]string{name}),
			Fix: "Name a user of domains[].users, as name or name@domain."}
	case 1:
		return found[0], nil
	}
	return "", &Problem{Status: http.StatusConflict, Title: "Several domains have this user",
		Detail: strings.Join(found, ", "), Fix: "Name the user as " + found[0] + "."}
}

// device finds the device that a path names: by instance, or by key where it has
// none.
func (h *handlers) device(name, instance string) (user string, d Device, problem *Problem) {
	user, problem = h.user(name)
	if problem != nil {
		return "", Device{}, problem
	}
	id, err := instanceID(instance)
	all := h.cfg.Devices.Devices(user)
	i := slices.IndexFunc(all, func(d Device) bool { return err == nil && id == d.Instance })
	if i < 0 {
		i = slices.IndexFunc(all, func(d Device) bool { return instance == d.Key })
	}
	if i < 0 {
		return user, Device{}, &Problem{Status: http.StatusNotFound, Title: "No such device",
			Detail: fmt.Sprintf("%s has no device %s", user, quoteAll([]string{instance})),
			Fix:    "GET /v1/users/" + url.PathEscape(user) + "/devices lists what there is; PUT makes one."}
	}
	return user, all[i], nil
}

// instanceID is an instance in the form in which those of REGISTERs are compared.
func instanceID(text string) (string, error) {
	if err := header.Safe(text); err != nil { // escaped in the URL, it would be cut off or pass
		return "", fmt.Errorf("+sip.instance: %w", err)
	}
	contact := sip.ContactHeader{Params: sip.HeaderParams{{K: "+sip.instance", V: header.FormatInstance(location.InstanceID(text))}}}
	v, err := header.Instance(contact)
	if err == nil && strings.HasSuffix(v, ":") { // a URN of nothing
		err = fmt.Errorf("+sip.instance: %w", header.ErrMalformed)
	}
	return location.InstanceID(v), err
}

// maxToken bounds a registration token of FCM, in bytes; Google gives no length.
const maxToken = 4096

// unusable is the problem of an announcement that is of no use.
func unusable(detail, fix string) *Problem {
	return &Problem{Status: http.StatusUnprocessableEntity, Title: "These tokens cannot be used", Detail: detail, Fix: fix}
}

// check finds what keeps an announcement from being of use.
func (a *Announcement) check(apps []App) *Problem {
	switch a.Environment {
	case "", "auto", "production", "sandbox":
	default:
		return unusable("environment is none of ours", "Send auto, production or sandbox.")
	}
	if a.Provider == "" || a.BundleID == "" {
		return unusable("provider and bundle_id are needed", "Send one of the configured apps: "+names(apps)+".")
	}
	if a.Provider == "fcm" && a.TeamID != "" {
		return unusable("an app of FCM has no team", "Leave team_id out.")
	}
	if !slices.ContainsFunc(apps, a.isFor) {
		return unusable("no such app is configured", "Send one of the configured apps, or add this one to push.apps: "+names(apps)+".")
	}
	if a.Provider == "fcm" {
		return a.checkFCM()
	}
	return a.checkAPNs()
}

func (a *Announcement) checkAPNs() *Problem {
	if a.VoIPToken == "" && a.AlertToken == "" {
		return unusable("there is no token", "Send voip_token, alert_token or both; DELETE logs a device out.")
	}
	for _, t := range []struct{ field, value string }{{"voip_token", a.VoIPToken}, {"alert_token", a.AlertToken}} {
		if t.value != "" && !isHex(t.value) {
			return unusable(t.field+" is not 2 to 200 hexadecimal characters", "Send the device token as hexadecimal text, two characters for each byte.")
		}
	}
	a.VoIPToken, a.AlertToken = location.CanonicalToken(a.Provider, a.VoIPToken), location.CanonicalToken(a.Provider, a.AlertToken)
	return nil
}

// checkFCM is for Android apps: their one token plays the part of the VoIP token.
func (a *Announcement) checkFCM() *Problem {
	switch {
	case a.AlertToken != "":
		return unusable("an app of FCM has no alert token", "Send its registration token as voip_token, and leave alert_token out.")
	case a.Environment != "" && a.Environment != "auto":
		return unusable("FCM has no environments", "Leave environment out.")
	case a.VoIPToken == "":
		return unusable("there is no token", "Send the registration token as voip_token; DELETE logs a device out.")
	case !isVisible(a.VoIPToken):
		return unusable(fmt.Sprintf("voip_token is not 1 to %d visible ASCII characters", maxToken), "Send the registration token as FCM gave it to the app.")
	}
	return nil
}

func (a *Announcement) isFor(app App) bool {
	return a.Provider == app.Provider && a.BundleID == app.BundleID && (a.TeamID == "" || app.TeamID == "" || a.TeamID == app.TeamID)
}

// names lists apps for a person.
func names(apps []App) string {
	if len(apps) == 0 {
		return "there is none in push.apps"
	}
	var out []string
	for _, a := range apps {
		text := a.Provider + " " + a.BundleID
		if a.TeamID != "" {
			text += " (team " + a.TeamID + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// isHex says whether a text can be a device token of APNs; Apple gives no length.
func isHex(s string) bool {
	const longest = 200
	return len(s) >= 2 && len(s) <= longest && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// isVisible says whether a text can be a registration token of FCM.
func isVisible(s string) bool {
	return len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
