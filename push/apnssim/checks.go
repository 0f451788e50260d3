package apnssim

import (
	"crypto/x509"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	devicePath     = "/3/device/"
	maxVoIPPayload = 5120
	maxPayload     = 4096
	maxCollapseID  = 64
)

// Verdict is the simulator's answer to a request.
type Verdict struct {
	Status int    `json:"status"`
	Reason string `json:"reason,omitempty"` // empty with 200
	// Timestamp goes with 410: since when the token is not active.
	Timestamp time.Time `json:"timestamp,omitzero"`
}

// push is a request on its way through the checks, and what they learnt.
type push struct {
	req        *request
	now        time.Time
	apnsID     string
	provider   *ProviderToken // verified
	credential credential     // of the provider, authenticated
	topic      string
	bundle     string
	suffix     string // of the topic
	pushType   string
	priority   int
	expiration time.Time // zero: header absent; Unix(0, 0): "0"
	token      token
}

// pushType couples an apns-push-type with the suffix of its topics.
type pushType struct{ name, suffix string }

// pushTypes are the values of apns-push-type. An mdm topic is no bundle and so
// never known here.
func pushTypes() []pushType {
	return []pushType{
		{"alert", ""},
		{"background", ""},
		{"voip", ".voip"},
		{"location", ".location-query"},
		{"complication", ".complication"},
		{"fileprovider", ".pushkit.fileprovider"},
		{"mdm", ""},
		{"liveactivity", ".push-type.liveactivity"},
		{"pushtotalk", ".voip-ptt"},
		{"controls", ".push-type.controls"},
		{"widgets", ".push-type.widgets"},
	}
}

// check is one rule: nil lets the push go on to the next.
type check func(*judge, *push) *Verdict

// checks in the order they are made; the first refusal is the answer. Apple's
// own order is not published.
func checks() []check {
	return []check{
		checkMethod, checkPath, checkDuplicates, checkID,
		checkProvider, checkTopic, checkPushType,
		checkPriority, checkExpiration, checkCollapseID,
		checkDeviceToken, checkPayload, checkRate,
	}
}

// judge knows what a check needs beyond the request: the registry, and the team
// and the certificate of the connection.
type judge struct {
	registry *registry
	team     *string
	// certificate is what the client presented, nil: nothing.
	certificate *x509.Certificate
}

// rule runs the checks. The push is filled in as far as they came.
func (j *judge) rule(p *push) Verdict {
	for _, c := range checks() {
		if v := c(j, p); v != nil {
			return *v
		}
	}
	return Verdict{Status: 200}
}

func refuse(status int, reason string) *Verdict { return &Verdict{Status: status, Reason: reason} }

func checkMethod(_ *judge, p *push) *Verdict {
	if p.req.method != "POST" {
		return refuse(405, "MethodNotAllowed")
	}
	return nil
}

func checkPath(_ *judge, p *push) *Verdict {
	hex, ok := strings.CutPrefix(p.req.path, devicePath)
	switch {
	case p.req.path+"/" == devicePath || ok && hex == "":
		return refuse(400, "MissingDeviceToken")
	case !ok || strings.ContainsAny(hex, "/?"):
		return refuse(404, "BadPath")
	}
	p.token.hex = hex
	return nil
}

func checkDuplicates(_ *judge, p *push) *Verdict {
	seen := make(map[string]bool)
	for _, f := range p.req.header {
		if strings.HasPrefix(f.Name, "apns-") || f.Name == "authorization" {
			if seen[f.Name] {
				return refuse(400, "DuplicateHeaders")
			}
			seen[f.Name] = true
		}
	}
	return nil
}

// newPush starts the judgement of a request. The answer always carries an
// apns-id: the client's if it gave a proper one.
func newPush(req *request, now time.Time) *push {
	p := &push{req: req, now: now, apnsID: req.get("apns-id")}
	if !properID(p.apnsID) {
		p.apnsID = strings.ToUpper(uuid.NewString())
	}
	return p
}

// properID wants the canonical form 8-4-4-4-12, in either case.
func properID(id string) bool { return len(id) == 36 && uuid.Validate(id) == nil }

func checkID(_ *judge, p *push) *Verdict {
	if ids := p.req.values("apns-id"); len(ids) > 0 && !properID(ids[0]) {
		return refuse(400, "BadMessageId")
	}
	return nil
}

// checkProvider authenticates the provider by the certificate of its connection
// or, when it has none, by its provider token.
func checkProvider(j *judge, p *push) *Verdict {
	if j.certificate != nil {
		return checkCertificate(j, p)
	}
	return checkProviderToken(j, p)
}

func checkProviderToken(j *judge, p *push) *Verdict {
	scheme, compact, _ := strings.Cut(p.req.get("authorization"), " ")
	if strings.TrimSpace(compact) == "" {
		return refuse(403, "MissingProviderToken")
	}
	t, err := parseJWS(strings.TrimSpace(compact))
	if !strings.EqualFold(scheme, "bearer") || err != nil {
		return refuse(403, "InvalidProviderToken")
	}
	k, ok := j.registry.key(t.KeyID)
	if !ok || t.verify(k.Public) != nil || t.TeamID != k.TeamID || t.IssuedAt.Sub(p.now) > maxClockLead {
		return refuse(403, "InvalidProviderToken")
	}
	if *j.team != "" && *j.team != t.TeamID {
		return refuse(403, "InvalidProviderToken")
	}
	if k.Environment != "" && k.Environment != p.req.env {
		return refuse(403, "BadEnvironmentKeyInToken")
	}
	if p.now.Sub(t.IssuedAt) > maxTokenAge {
		return refuse(403, "ExpiredProviderToken")
	}
	if !j.registry.newProviderToken(k.ID, t.IssuedAt.Unix(), p.now) {
		return refuse(429, "TooManyProviderTokenUpdates")
	}
	*j.team = t.TeamID
	p.provider = &t.ProviderToken
	p.credential = credential{team: k.TeamID, topics: k.Topics}
	return nil
}

func checkTopic(j *judge, p *push) *Verdict {
	p.topic = p.req.get("apns-topic")
	if p.topic == "" {
		p.topic = p.credential.topic()
	}
	if p.topic == "" {
		return refuse(400, "MissingTopic")
	}
	bundle, suffix, team, ok := j.registry.topic(p.topic)
	if !ok {
		return refuse(400, "BadTopic")
	}
	if !p.credential.allows(p.topic, bundle, team) {
		return refuse(400, "TopicDisallowed")
	}
	p.bundle, p.suffix = bundle, suffix
	return nil
}

// checkPushType demands the header, as Apple's documentation does since iOS 13;
// Apple itself was seen to accept its absence. The two mismatches answer what
// providers reported: alert to a .voip topic InvalidPushType (apnotic#87,
// PyAPNs2#87), voip to a plain topic DeviceTokenNotForTopic
// (laravel-notification-channels/apn#88).
func checkPushType(_ *judge, p *push) *Verdict {
	p.pushType = p.req.get("apns-push-type")
	for _, t := range pushTypes() {
		switch {
		case t.name != p.pushType:
		case t.suffix == p.suffix:
			return nil
		case p.suffix == "":
			return refuse(400, "DeviceTokenNotForTopic")
		}
	}
	return refuse(400, "InvalidPushType")
}

func checkPriority(_ *judge, p *push) *Verdict {
	p.priority = 10 // Apple's default
	if len(p.req.values("apns-priority")) == 0 {
		return backgroundPriority(p)
	}
	switch p.req.get("apns-priority") {
	case "10":
	case "5":
		p.priority = 5
	case "1":
		p.priority = 1
	default:
		return refuse(400, "BadPriority")
	}
	return backgroundPriority(p)
}

// backgroundPriority: Apple calls priority 10 for background pushes an error.
func backgroundPriority(p *push) *Verdict {
	if p.pushType == "background" && p.priority == 10 {
		return refuse(400, "BadPriority")
	}
	return nil
}

func checkExpiration(_ *judge, p *push) *Verdict {
	v := p.req.values("apns-expiration")
	if len(v) == 0 {
		return nil
	}
	n, err := strconv.ParseUint(v[0], 10, 48) // far enough, and no overflow in time.Unix
	if err != nil {
		return refuse(400, "BadExpirationDate")
	}
	p.expiration = time.Unix(int64(n), 0)
	return nil
}

func checkCollapseID(_ *judge, p *push) *Verdict {
	if len(p.req.get("apns-collapse-id")) > maxCollapseID {
		return refuse(400, "BadCollapseId")
	}
	return nil
}

func checkDeviceToken(j *judge, p *push) *Verdict {
	t, ok := j.registry.token(p.token.hex)
	if !ok || t.env != p.req.env {
		return refuse(400, "BadDeviceToken")
	}
	if t.bundle != p.bundle || t.kind != kindOf(p.suffix) {
		return refuse(400, "DeviceTokenNotForTopic")
	}
	p.token = t
	switch t.state {
	case Unregistered:
		return &Verdict{Status: 410, Reason: "Unregistered", Timestamp: t.since}
	case Expired:
		return &Verdict{Status: 410, Reason: "ExpiredToken", Timestamp: t.since}
	}
	return nil
}

// kindOf names the kind of token that a topic with this suffix takes; the
// simulator issues no tokens for the other suffixes.
func kindOf(suffix string) Kind {
	switch suffix {
	case "":
		return Alert
	case ".voip":
		return VoIP
	}
	return ""
}

// checkPayload wants one JSON object within the size. What Apple answers to
// something else is not known; PayloadEmpty is a choice.
func checkPayload(_ *judge, p *push) *Verdict {
	limit := maxPayload
	if p.pushType == "voip" {
		limit = maxVoIPPayload
	}
	switch {
	case p.req.size == 0:
		return refuse(400, "PayloadEmpty")
	case p.req.size > limit:
		return refuse(413, "PayloadTooLarge")
	case !jsonObject(p.req.body):
		return refuse(400, "PayloadEmpty")
	}
	return nil
}

func jsonObject(b []byte) bool {
	var o map[string]json.RawMessage
	return json.Unmarshal(b, &o) == nil && o != nil // null leaves it nil
}

func checkRate(_ *judge, p *push) *Verdict {
	if !p.token.bucket.AllowN(p.now, 1) {
		return refuse(429, "TooManyRequests")
	}
	return nil
}
