package registrar

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
)

// Auth proves which user sent a request, for REGISTER and for the INVITEs of
// users.
type Auth struct {
	verifiers map[string]*digest.Verifier
	log       *slog.Logger
	// Failed is called for each failed attempt, to count towards a ban; nil:
	// nobody counts. It must only post.
	Failed func(req *sip.Request)
}

// NewAuth makes an Auth; verifiers by domain in lower case.
func NewAuth(verifiers map[string]*digest.Verifier, log *slog.Logger) *Auth {
	return &Auth{verifiers: verifiers, log: log}
}

// Verify returns the user that req proves to come from: the digest's user in the
// domain of From (of To for REGISTER). The error is a *sipua.Rejection: 401 with
// the challenges, 400, or 404 for a domain that is not ours.
func (a *Auth) Verify(req *sip.Request) (sipua.AOR, error) {
	host := req.From().Address.Host
	if req.Method == sip.REGISTER {
		host = req.To().Address.Host
	}
	domain := sipua.NewAOR("", host).Domain
	v := a.verifiers[domain]
	if v == nil {
		return sipua.AOR{}, sipua.Reject(404, "Domain Not Served")
	}
	res := v.Verify(context.Background(), digest.Request{
		Method: string(req.Method), URI: req.Recipient, Authorization: sipua.Values(req, "Authorization"),
	})
	if res.Outcome.Failed() {
		a.log.Info("authentication failed", "user", res.Username, "domain", domain, "source", req.Source(), "reason", res.Err)
		if a.Failed != nil {
			a.Failed(req)
		}
	}
	switch res.Outcome {
	case digest.OK:
		return sipua.NewAOR(res.Username, domain), nil
	case digest.BadRequest:
		return sipua.AOR{}, sipua.Reject(400, "Bad Credentials")
	}
	rej := sipua.Reject(401, "")
	for _, value := range v.Challenge(res.Outcome == digest.Stale) {
		rej.Headers = append(rej.Headers, sipua.HeaderLine{Name: "WWW-Authenticate", Value: value})
	}
	return sipua.AOR{}, rej
}

// Serves says that a domain is ours.
func (a *Auth) Serves(domain string) bool {
	return a.verifiers[sipua.NewAOR("", domain).Domain] != nil
}

// owner checks that a REGISTER is for the AOR of its sender.
func owner(req *sip.Request, who sipua.AOR) error {
	aor, err := sipua.AOROf(req.To().Address)
	if err != nil {
		return fmt.Errorf("address of record: %w", err)
	}
	if aor != who {
		return sipua.Reject(403, "Not Your Address")
	}
	return nil
}
