package api

import (
	"context"
	"net/http"
	"time"

	"wakebridge/sipua/location"
)

// PushTester walks the stages of a test push.
type PushTester interface {
	// TestPush pushes once to each target and waits, at most for order.Wait, for
	// its REGISTER. It returns one report per target, in their order.
	TestPush(ctx context.Context, order PushOrder) []PushReport
}

// PushOrder is a test push that has been checked: to devices of a user, by their
// keys, or to a token.
type PushOrder struct {
	User    string // name@domain, or ""
	Devices []string
	App     App    // with Token
	Token   string // as location.CanonicalToken has it
	VoIP    bool
	Wait    time.Duration // 0: do not wait
}

// PushRequest is the body of POST /v1/push/test: a user, or a token with its app.
type PushRequest struct {
	User     string `json:"user,omitempty"`
	Instance string `json:"instance,omitempty"` // one of the user's devices; "": all
	Token    string `json:"token,omitempty"`
	App      string `json:"app,omitempty"`  // bundle id or Firebase project, with token
	Team     string `json:"team,omitempty"` // where two teams have that bundle id
	VoIP     bool   `json:"voip,omitempty"` // a push that rings; else an alert, which Android has not
	Wait     string `json:"wait,omitempty"` // for the REGISTER, e.g. "15s"; "": do not wait
}

// PushOutcome is the answer.
type PushOutcome struct {
	// OK says that all pushes went well, apart from those that were skipped
	// beside others.
	OK      bool         `json:"ok"`
	Reports []PushReport `json:"reports"`
}

// PushReport is what became of one push.
type PushReport struct {
	User   string `json:"user,omitempty"`
	Device string `json:"device,omitempty"` // instance or key
	App    string `json:"app,omitempty"`
	Token  string `json:"token,omitempty"` // the last four characters
	Kind   string `json:"kind"`            // voip or alert
	UUID   string `json:"uuid"`
	OK     bool   `json:"ok"`
	// Skipped says that nothing is wrong so far, and that nothing was sent: its
	// push service has no push that does not ring.
	Skipped bool    `json:"skipped,omitempty"`
	Stages  []Stage `json:"stages"` // up to the first that failed
}

// Stage is one step on the way.
type Stage struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Cure string `json:"cure,omitempty"` // with a failure
	// Reason is the push service's own word, with a push that it refused.
	Reason string `json:"reason,omitempty"`
	TookMS int64  `json:"took_ms"`
}

// LongestWait bounds PushRequest.Wait.
const LongestWait = time.Minute

func (h *handlers) pushTest(w http.ResponseWriter, r *http.Request) {
	var req PushRequest
	problem := readJSON(w, r, &req)
	var order PushOrder
	if problem == nil {
		order, problem = h.order(req)
	}
	if problem != nil {
		h.fail(w, *problem)
		return
	}
	// The server's time limit is for reading requests, and this one was read.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		h.cfg.Log.Debug("no read deadline to lift", "error", err)
	}
	reports := h.cfg.Pusher.TestPush(r.Context(), order)
	reply(w, h.cfg.Log, http.StatusOK, PushOutcome{OK: allOK(reports), Reports: reports})
}

// allOK says whether something was tested, and all of that went well.
func allOK(reports []PushReport) bool {
	tested := false // the devices may have gone in the meantime
	for _, r := range reports {
		if r.Skipped {
			continue
		}
		if tested = true; !r.OK {
			return false
		}
	}
	return tested
}

// order checks a request.
func (h *handlers) order(req PushRequest) (PushOrder, *Problem) {
	bad := func(detail, fix string) (PushOrder, *Problem) {
		return PushOrder{}, &Problem{Status: http.StatusUnprocessableEntity, Title: "This push cannot be tested", Detail: detail, Fix: fix}
	}
	order := PushOrder{VoIP: req.VoIP, Token: req.Token}
	if req.Wait != "" {
		var err error
		if order.Wait, err = time.ParseDuration(req.Wait); err != nil || order.Wait < 0 || order.Wait > LongestWait {
			return bad("wait is not a time up to "+LongestWait.String(), `Send for example "15s".`)
		}
	}
	switch {
	case (req.User == "") == (req.Token == ""):
		return bad("it needs a user or a token, and not both", "Send user, or token and app.")
	case req.Token != "":
		if req.App == "" || req.Instance != "" {
			return bad("a token needs its app and no instance", "Send app, one of: "+names(h.cfg.Devices.Apps())+".")
		}
		if order.Wait > 0 {
			return bad("nobody knows who registers after a push to a bare token", "Send user in place of token, or no wait.")
		}
		order.App = appOf(h.cfg.Devices.Apps(), req)
		order.Token = location.CanonicalToken(order.App.Provider, req.Token)
		return order, nil
	case req.App != "" || req.Team != "":
		return bad("app and team go with a token", "Send user alone: its devices have announced their apps.")
	}
	return h.orderFor(order, req)
}

// appOf is the app of a bare token. One that is not configured is taken for
// APNs': the stage of the configuration tells about it.
func appOf(apps []App, req PushRequest) App {
	app := App{Provider: "apns", BundleID: req.App, TeamID: req.Team}
	for _, a := range apps {
		if a.BundleID == req.App && (req.Team == "" || a.TeamID == req.Team) {
			app.Provider = a.Provider
			break
		}
	}
	return app
}

// orderFor finds the user's devices.
func (h *handlers) orderFor(order PushOrder, req PushRequest) (PushOrder, *Problem) {
	if req.Instance != "" {
		user, d, problem := h.device(req.User, req.Instance)
		order.User, order.Devices = user, []string{d.Key}
		return order, problem
	}
	user, problem := h.user(req.User)
	if problem != nil {
		return order, problem
	}
	order.User = user
	for _, d := range h.cfg.Devices.Devices(user) {
		order.Devices = append(order.Devices, d.Key)
	}
	if len(order.Devices) == 0 {
		return order, &Problem{Status: http.StatusNotFound, Title: "The user has no device", Detail: user,
			Fix: "Let the app register once, or announce its tokens with PUT /v1/users/{user}/devices/{instance}."}
	}
	return order, nil
}
