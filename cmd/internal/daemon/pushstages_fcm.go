package daemon

import (
	"context"
	"fmt"
	"slices"

	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/fcm"
	"wakebridge/sipua/location"
)

// kindFor is the kind of push to test where kind was asked for: an Android app has
// one token, and each of its pushes is as for a call.
func kindFor(provider string, kind location.TokenKind) location.TokenKind {
	if provider == string(push.FCM) {
		return location.VoIP
	}
	return kind
}

// android says that the push goes to FCM.
func (p *probe) android() bool { return p.to.Service == push.FCM }

// configuredFCM says whether the project is known and its service account can be
// read now, not only when the server started.
func (p *probe) configuredFCM(context.Context) step {
	_, ok := p.d.waker.mux.Find(p.to)
	i := slices.IndexFunc(p.d.cfg.Push.Apps, func(a config.App) bool {
		return a.Provider == string(push.FCM) && a.ProjectID == p.to.BundleID
	})
	if !ok || i < 0 {
		return p.unknownApp()
	}
	p.app = p.d.cfg.Push.Apps[i]
	account, err := fcm.LoadAccount(p.app.ServiceAccountFile)
	if err != nil {
		return step{text: err.Error(), cure: "service_account_file must be the JSON key of a service account as Google gave it out, owned by the server's user, mode 0600"}
	}
	return step{text: fmt.Sprintf("project %s, service account %s", p.app.ProjectID, account)}
}

// sendFCM pushes, unless the phone may not ring.
func (p *probe) sendFCM(ctx context.Context) step {
	if p.quiet {
		p.report.Skipped = true
		return step{text: "nothing was sent: FCM has no quiet test, the app takes each push for a call", cure: "test with --voip: the phone then rings for a moment"}
	}
	return p.send(ctx)
}
