package apnssim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// device finds the device that a path names.
func (a *admin) device(next func(http.ResponseWriter, *http.Request, *Device)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d := a.sim.Device(r.PathValue("name"))
		if d == nil {
			problem(w, http.StatusNotFound, "no such device")
			return
		}
		next(w, r, d)
	}
}

func (a *admin) devices(w http.ResponseWriter, _ *http.Request) {
	r := a.sim.registry
	r.mu.Lock()
	all := make([]*Device, 0, len(r.devices))
	for _, d := range r.devices {
		all = append(all, d)
	}
	r.mu.Unlock()
	list := make([]DeviceStatus, 0, len(all))
	for _, d := range all {
		list = append(list, d.Status())
	}
	slices.SortFunc(list, func(x, y DeviceStatus) int { return strings.Compare(x.Name, y.Name) })
	answer(w, list)
}

func (a *admin) addDevice(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name        string      `json:"name"`
		Environment Environment `json:"environment"` // empty: production
	}
	if !read(w, r, &body) {
		return
	}
	if body.Environment == "" {
		body.Environment = Production
	}
	if body.Name == "" || !body.Environment.valid() {
		problem(w, http.StatusBadRequest, "name is missing, or environment is neither sandbox nor production")
		return
	}
	d := a.sim.NewDevice(body.Name)
	if err := d.UseEnvironment(body.Environment); err != nil {
		failed(w, err)
		return
	}
	answer(w, d.Status())
}

func (a *admin) removeDevice(w http.ResponseWriter, r *http.Request) {
	done(w, a.sim.RemoveDevice(r.PathValue("name")))
}

func (a *admin) showDevice(w http.ResponseWriter, _ *http.Request, d *Device) {
	answer(w, d.Status())
}

func (a *admin) register(w http.ResponseWriter, r *http.Request, d *Device) {
	var body struct {
		Bundle string `json:"bundle"`
		Kind   Kind   `json:"kind"`
	}
	if !read(w, r, &body) {
		return
	}
	if !bundleID(body.Bundle) || body.Kind != VoIP && body.Kind != Alert {
		problem(w, http.StatusBadRequest, "bundle is no bundle identifier, or kind is neither voip nor alert")
		return
	}
	answer(w, map[string]string{"token": d.register(body.Bundle, body.Kind)})
}

func (a *admin) connect(online bool) func(http.ResponseWriter, *http.Request, *Device) {
	return func(w http.ResponseWriter, _ *http.Request, d *Device) {
		d.Online(online)
		done(w, nil)
	}
}

func (a *admin) reinstall(w http.ResponseWriter, r *http.Request, d *Device) {
	var body struct {
		Bundle string `json:"bundle"`
	}
	if read(w, r, &body) {
		d.Reinstall(body.Bundle)
		done(w, nil)
	}
}

// deliveries answers at once when there is something after ?after, else when
// something comes, with an empty list once ?wait is over.
func (a *admin) deliveries(w http.ResponseWriter, r *http.Request, d *Device) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		problem(w, http.StatusBadRequest, "after is not a number")
		return
	}
	wait := time.Duration(0)
	if text := r.URL.Query().Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > maxPoll {
			problem(w, http.StatusBadRequest, "wait is not a duration up to "+maxPoll.String())
			return
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		list, changed := d.Received(after)
		if len(list) > 0 {
			answer(w, list)
			return
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-a.sim.done:
		case <-r.Context().Done():
		}
		answer(w, []Delivery{})
		return
	}
}
