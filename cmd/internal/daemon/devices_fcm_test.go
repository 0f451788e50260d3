package daemon

import (
	"testing"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/push/fcm/fcmsim"
)

// serveAndroid is a server with an Android app beside the other, and the FCM that
// it pushes to.
func serveAndroid(t *testing.T) (*httpServer, *fcmsim.Sim) {
	t.Helper()
	sim, change := androidSim(t)
	return serveHTTP(t, func(c *config.Config) { change(&c.Push) }), sim
}

func androidAnnouncement() api.Announcement {
	return api.Announcement{Provider: "fcm", BundleID: androidProject, VoIPToken: androidToken}
}

// A device whose backend announced its FCM token is woken through FCM.
func TestAndroidDeviceOverHTTP(t *testing.T) {
	s, sim := serveAndroid(t)
	var d api.Device
	if status := s.ask("PUT", devicePath(devPhone), androidAnnouncement(), &d); status != 201 || !d.Wakeable || d.Push.Provider != "fcm" ||
		d.Push.BundleID != androidProject || d.Push.VoIPToken == nil || d.Push.VoIPToken.Value == androidToken || d.Push.AlertToken != nil {
		t.Fatalf("%d %+v", status, d)
	}
	if p := s.devicesOnDisk()[0].Push; p.VoIP.Value != androidToken || p.Provider != "fcm" || p.BundleID != androidProject {
		t.Errorf("on disk: %+v", p)
	}
	w := wakeOf(s.memory.Devices(callee)[0])
	results := make(chan bridge.WakeResult, 1)
	s.waker.Wake(t.Context(), w, func(r bridge.WakeResult) { results <- r })
	if r := <-results; !r.Accepted {
		t.Errorf("%+v", r)
	}
	if m := delivery(t, sim); m.Token != androidToken || m.Data["uuid"] != w.UUID || m.Data["type"] != "call" {
		t.Errorf("%+v", m)
	}
	wrong := androidAnnouncement()
	wrong.AlertToken = androidToken
	if status := s.ask("PUT", devicePath(devPhone), wrong, nil); status != 422 {
		t.Errorf("with an alert token: %d", status)
	}
	if status := s.ask("PUT", devicePath(devPhone), announcement(androidToken, ""), nil); status != 422 {
		t.Errorf("as a token of APNs: %d", status)
	}
	if status := s.ask("DELETE", devicePath(devPhone), nil, nil); status != 204 || len(s.memory.Devices(callee)) != 0 {
		t.Errorf("DELETE: %d", status)
	}
}
