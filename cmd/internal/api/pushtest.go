package api

import (
	"context"
	"net/http"
	"time"
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
	App     App // with Token
	Token   string
	VoIP    bool
	Wait    time.Duration // 0: do not wait
}

// PushRequest is the body of POST /v1/push/test: a user, or a token with its app.
type PushRequest struct {
	User     string `json:"user,omitempty"`
	Instance string `json:"instance,omitempty"` // one of the user's devices; "": all
	Token    string `json:"token,omitempty"`
	App      string `json:"app,omitempty"`  // bundle id, with token
	Team     string `json:"team,omitempty"` // where two teams have that bundle id
	VoIP     bool   `json:"voip,omitempty"` // a VoIP push, which rings; else an alert
	Wait     string `json:"wait,omitempty"` // for the REGISTER, e.g. "15s"; "": do not wait
}

// PushOutcome is the answer.
type PushOutcome struct {
	OK      bool         `json:"ok"`
	Reports []PushReport `json:"reports"`
}

// PushReport is what became of one push.
type PushReport struct {
	User   string  `json:"user,omitempty"`
	Device string  `json:"device,omitempty"` // instance or key
	App    string  `json:"app,omitempty"`
	Token  string  `json:"token,omitempty"` // the last four characters
	Kind   string  `json:"kind"`            // voip or alert
	UUID   string  `json:"uuid"`
	OK     bool    `json:"ok"`
	Stages []Stage `json:"stages"` // up to the first that failed
}

// Stage is one step on the way.
type Stage struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Cure string `json:"cure,omitempty"` // with a failure
	// Reason is APNs' own word, with a push that it refused.
	Reason string `json:"reason,omitempty"`
	TookMS int64  `json:"took_ms"`
}

// longestWait bounds PushRequest.Wait.
const longestWait = time.Minute

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
	out := PushOutcome{Reports: h.cfg.Pusher.TestPush(r.Context(), order)}
	out.OK = len(out.Reports) > 0 // they may have gone in the meantime
	for _, rep := range out.Reports {
		out.OK = out.OK && rep.OK
	}
	reply(w, h.cfg.Log, http.StatusOK, out)
}

// order checks a request.
func (h *handlers) order(req PushRequest) (PushOrder, *Problem) {
	bad := func(detail, fix string) (PushOrder, *Problem) {
		return PushOrder{}, &Problem{Status: http.StatusUnprocessableEntity, Title: "This push cannot be tested", Detail: detail, Fix: fix}
	}
	order := PushOrder{VoIP: req.VoIP, Token: req.Token}
	if req.Wait != "" {
		var err error
		if order.Wait, err = time.ParseDuration(req.Wait); err != nil || order.Wait < 0 || order.Wait > longestWait {
			return bad("wait is not a time up to "+longestWait.String(), `Send for example "15s".`)
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
		order.App = App{Provider: "apns", BundleID: req.App, TeamID: req.Team}
		return order, nil
	case req.App != "" || req.Team != "":
		return bad("app and team go with a token", "Send user alone: its devices have announced their apps.")
	}
	return h.orderFor(order, req)
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
