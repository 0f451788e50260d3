package pushtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
	_, ok := p.server.Sender.Route(p.to)
	i := slices.IndexFunc(p.server.Push.Apps, func(a config.App) bool {
		return a.Provider == string(push.FCM) && a.ProjectID == p.to.BundleID
	})
	if !ok || i < 0 {
		return p.unknownApp()
	}
	p.app = p.server.Push.Apps[i]
	account, err := fcm.LoadAccount(p.app.ServiceAccountFile)
	if err != nil {
		return step{text: err.Error(), cure: "service_account_file must be the JSON key of a service account as Google gave it out, owned by the server's user, mode 0600"}
	}
	return step{text: fmt.Sprintf("project %s, service account %s", p.app.ProjectID, account)}
}

// accessToken signs the service account in as it is now, and says what Google made
// of it.
func (p *probe) accessToken(ctx context.Context) step {
	account, err := fcm.LoadAccount(p.app.ServiceAccountFile)
	if err != nil {
		return step{text: err.Error(), cure: "service_account_file must be the JSON key of a service account as Google gave it out"}
	}
	until, err := p.server.Sender.SignIn(ctx, p.app.ProjectID, account)
	var refused *fcm.SignInError
	switch {
	case errors.Is(err, fcm.ErrOtherAccount):
		return step{text: fmt.Sprintf("service_account_file is now that of %s, with another key than the server uses", account), cure: "restart the server"}
	case errors.As(err, &refused):
		return step{text: refused.Text, cure: cure(push.FCM, push.Result{Reason: refused.Reason}), reason: string(refused.Reason)}
	case err != nil:
		return step{text: err.Error(), cure: "look at the server's log"}
	}
	text := fmt.Sprintf("Google signed %s in", account)
	if !until.IsZero() {
		text += ", for " + time.Until(until).Round(time.Minute).String()
	}
	return step{text: text}
}

// sendFCM pushes, unless the phone may not ring.
func (p *probe) sendFCM(ctx context.Context) step {
	if p.quiet {
		p.report.Skipped = true
		return step{text: "nothing was sent: FCM has no quiet test, the app takes each push for a call", cure: "test with --voip: the phone then rings for a moment"}
	}
	return p.send(ctx)
}
