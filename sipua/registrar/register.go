package registrar

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/location"
)

// registration is a REGISTER as the loop understood it.
type registration struct {
	aor      sipua.AOR
	edits    []location.Edit
	contacts []bound
	services []header.FeatureCaps // what the answer's Feature-Caps say
	fates    bool                 // the app reads X-Call-Ended
}

// bound is one Contact of the request that asks for a binding.
type bound struct {
	value   string // byte for byte
	expires time.Duration
}

// authorise checks a REGISTER from the credentials to the last Contact and says
// what it changes. The error's status is the answer.
func (r *Registrar) authorise(tx *sipua.ServerTx) (registration, error) {
	req := tx.Request
	who, err := r.cfg.Auth.Verify(req)
	if err != nil {
		return registration{}, err
	}
	if err := owner(req, who); err != nil {
		return registration{}, err
	}
	reg := registration{aor: who}
	contacts, err := contactsOf(req)
	if err != nil {
		return reg, err
	}
	if err := r.inOrder(who, req); err != nil {
		return reg, err
	}
	path, err := header.ParsePath(sipua.Values(req, header.NamePath)...)
	if err != nil {
		return reg, fmt.Errorf("path: %w", err)
	}
	caps, err := header.ParseFeatureCaps(sipua.Values(req, header.NameFeatureCaps)...)
	if err != nil {
		return reg, fmt.Errorf("Feature-Caps: %w", err)
	}
	in := intake{r: r, tx: tx, reg: &reg, path: path, now: time.Now(), othersPush: header.CarriesPNS(caps)}
	for _, c := range contacts {
		if err := in.contact(c); err != nil {
			return reg, err
		}
	}
	// New bindings first: a phone that changes its address removes the old one and
	// adds the new one in one request, and is never logged out in between.
	reg.edits = append(in.upserts, in.removals...)
	if len(in.upserts) > 0 {
		r.know(tx.Flow(), who, in.latest)
	}
	return reg, nil
}

// know notes on the flow who it belongs to.
func (r *Registrar) know(f *sipua.Flow, who sipua.AOR, until time.Time) {
	if f.Party() == "" {
		f.SetParty("user " + who.String() + " flow " + strconv.FormatUint(uint64(f.ID()), 10))
	}
	f.Pin(until)
}

// contactsOf lists the Contacts, and checks the rule of "*" (RFC 3261 s10.3
// step 6).
func contactsOf(req *sip.Request) ([]*sip.ContactHeader, error) {
	var out []*sip.ContactHeader
	for _, h := range req.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			return nil, sipua.Reject(400, "Bad Contact")
		}
		out = append(out, c)
	}
	for _, c := range out {
		if c.Address.Wildcard && (len(out) > 1 || strings.TrimSpace(sipua.Value(req, "Expires")) != "0") {
			return nil, sipua.Reject(400, "Contact * needs Expires 0 and no other Contact")
		}
	}
	return out, nil
}

// inOrder refuses a REGISTER that was overtaken by a later one of the same
// Call-ID (RFC 3261 s10.3 step 7).
func (r *Registrar) inOrder(who sipua.AOR, req *sip.Request) error {
	for _, d := range r.cfg.Memory.Devices(who) {
		for _, b := range d.Bindings {
			if b.CallID == req.CallID().Value() && req.CSeq().SeqNo < b.CSeq {
				return sipua.Reject(500, "Out of Order")
			}
		}
	}
	return nil
}

// intake turns the Contacts of one REGISTER into edits.
type intake struct {
	r          *Registrar
	tx         *sipua.ServerTx
	reg        *registration
	path       header.Path
	now        time.Time
	latest     time.Time // end of the longest binding
	othersPush bool      // somebody nearer to the app pushes (RFC 8599 s5.6.1.1)
	upserts    []location.Edit
	removals   []location.Edit
}

func (in *intake) contact(c *sip.ContactHeader) error {
	req := in.tx.Request
	asked, said := header.Expires(*c, sipua.Values(req, "Expires")...)
	if c.Address.Wildcard {
		in.removals = append(in.removals, location.RemoveBinding{AOR: in.reg.aor, Contact: "*", At: in.now})
		return nil
	}
	instance, err := header.Instance(*c)
	if err != nil {
		return err
	}
	instance = location.InstanceID(instance)
	push, err := header.ParsePush(*c)
	if err != nil && !(said && asked == 0) { // a log-out needs no working push
		return in.refusedPush(err)
	}
	if said && asked == 0 {
		in.removals = append(in.removals, location.RemoveBinding{AOR: in.reg.aor, Contact: c.Value(), Instance: instance,
			Token: cmp.Or(push.VoIPToken, push.AlertToken), At: in.now})
		return nil
	}
	if in.othersPush {
		push = header.Push{}
	}
	if err := in.r.serves(push); err != nil {
		return in.refusedPush(err)
	}
	lease, err := in.r.lease(in.reg.aor, push.HasToken(), asked, said)
	if err != nil {
		return err
	}
	regID, err := header.RegID(*c)
	if err != nil {
		return err
	}
	in.bind(c, push, instance, regID, lease)
	return nil
}

func (in *intake) refusedPush(err error) error {
	in.r.log.Info("push parameters refused", "aor", in.reg.aor.String(), "error", err)
	return err
}

// bind adds the edit for one binding and what the answer says of it.
func (in *intake) bind(c *sip.ContactHeader, push header.Push, instance string, regID int, lease time.Duration) {
	req, f := in.tx.Request, in.tx.Flow()
	b := location.Binding{
		Contact: c.Value(), Flow: location.FlowID(f.ID()), Node: in.r.cfg.Node, Path: in.path,
		Instance: instance, RegID: regID, CallID: req.CallID().Value(), CSeq: req.CSeq().SeqNo,
		Expires: in.now.Add(lease), UserAgent: header.Clean(sipua.Value(req, "User-Agent")),
		Received: f.Remote(), Transport: f.Transport().Param(), Registered: in.now,
	}
	up := location.Upsert{AOR: in.reg.aor, Binding: b, MaxContacts: in.r.domains[in.reg.aor.Domain].MaxContacts}
	up.Push.FateHeader = header.ReadsFate(*c)
	switch {
	case push.HasToken():
		up.Announced = location.Tokens
		up.Push = pushInfo(push, up.Push.FateHeader)
	case push.Query != header.QueryNone:
		up.Announced = location.Query
	}
	up.InCall = in.inCall(instance)
	if push.Present {
		in.r.log.Info("push parameters understood", "aor", in.reg.aor.String(), "push", push)
	}
	in.upserts = append(in.upserts, up)
	in.reg.contacts = append(in.reg.contacts, bound{value: c.Value(), expires: lease})
	in.reg.fates = in.reg.fates || up.Push.FateHeader
	in.reg.services = append(in.reg.services, in.services(c, push, lease)...)
	if b.Expires.After(in.latest) {
		in.latest = b.Expires
	}
}

func (in *intake) inCall(instance string) bool {
	return in.r.cfg.InCall != nil && instance != "" && in.r.cfg.InCall(location.Ref{AOR: in.reg.aor, Key: instance})
}

// pnsRegBefore is how long before the end of a binding an app with the tag
// sip.pnsreg refreshes by itself; RFC 8599 s8.4 wants more than 120 s.
const pnsRegBefore = 300

// services says which push services the answer names (RFC 8599 s5.4, s5.6.1.2).
func (in *intake) services(c *sip.ContactHeader, push header.Push, lease time.Duration) []header.FeatureCaps {
	var names []string
	switch {
	case push.HasToken(), push.Query == header.QueryOne:
		names = []string{string(push.Provider)}
	case push.Query == header.QueryAll:
		names = in.r.cfg.Push.Services
	}
	var out []header.FeatureCaps
	for _, name := range names {
		fc := header.FeatureCaps{PNS: name}
		if header.WantsPNSReg(*c) && lease > 2*pnsRegBefore*time.Second {
			fc.PNSReg = pnsRegBefore
		}
		out = append(out, fc)
	}
	return out
}

func pushInfo(p header.Push, fates bool) location.PushInfo {
	info := location.PushInfo{Provider: string(p.Provider), BundleID: p.BundleID, TeamID: p.TeamID, FateHeader: fates,
		VoIP: location.Token{Value: p.VoIPToken, Kind: location.VoIP}, Alert: location.Token{Value: p.AlertToken, Kind: location.Alert}}
	switch p.Environment {
	case header.Production:
		info.Environment = location.Production
	case header.Sandbox:
		info.Environment = location.Sandbox
	}
	return info
}

// serves refuses tokens of an app that we cannot push to: 555 tells the app that
// it must not rely on being woken (RFC 8599 s5.6.1.1).
func (r *Registrar) serves(p header.Push) error {
	if !p.HasToken() {
		return nil
	}
	if r.cfg.Push.Serves == nil || !r.cfg.Push.Serves(string(p.Provider), p.BundleID, p.TeamID) {
		return fmt.Errorf("no push.apps entry for %s app %q: %w", p.Provider, p.BundleID, header.ErrUnsupportedProvider)
	}
	return nil
}

// lease is how long a binding lives: what was asked, within the bounds, the
// default where nothing was asked. Too short a wish is 423 (RFC 3261 s10.3
// step 7, RFC 8599 s5.6.1.1).
func (r *Registrar) lease(aor sipua.AOR, push bool, asked time.Duration, said bool) (time.Duration, error) {
	l := r.domains[aor.Domain].Expires
	if push {
		l = r.cfg.Push.Expires
	}
	switch {
	case !said:
		return l.Default, nil
	case asked < l.Min:
		return 0, sipua.Reject(423, "", sipua.HeaderLine{Name: "Min-Expires", Value: header.FormatSeconds(l.Min)})
	}
	return min(asked, l.Max), nil
}

// headers are those of the 200: the requester's own Contacts exactly as it sent
// them, the others of the AOR without push parameters (RFC 8599 s4), the push
// services, and the fates of calls that the device was too late for.
func (r *Registrar) headers(a answer) []sip.Header {
	var out []sip.Header
	own := make(map[string]bool)
	for _, c := range a.reg.contacts {
		own[c.value] = true
		out = append(out, sip.NewHeader("Contact", withExpires(c.value, c.expires)))
	}
	now := time.Now()
	var fates []location.Fate
	for _, d := range r.cfg.Memory.Devices(a.reg.aor) {
		mine := false
		for _, b := range d.Bindings {
			if own[b.Contact] {
				mine = true
				continue
			}
			if other, left := shown(b.Contact), b.Expires.Sub(now); other != "" && left > 0 {
				out = append(out, sip.NewHeader("Contact", withExpires(other, left)))
			}
		}
		if mine {
			fates = append(fates, r.tell(d)...)
		}
	}
	seen := make(map[string]bool)
	for _, fc := range a.reg.services {
		if !seen[fc.PNS] {
			seen[fc.PNS] = true
			out = append(out, sip.NewHeader(header.NameFeatureCaps, fc.String()))
		}
	}
	for _, f := range fates {
		id, err := uuid.Parse(f.UUID)
		if err != nil {
			r.log.Error("fate without a UUID", "device", f.DeviceKey, "error", err)
			continue
		}
		out = append(out, sip.NewHeader(header.NameCallEnded, header.CallEnded{UUID: id, Cause: f.Cause, Text: f.Text}.String()))
	}
	out = append(out, sip.NewHeader("Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")))
	return out
}

// tell takes the fates of a device: those that it reads are returned, the others
// go to Late.
func (r *Registrar) tell(d location.Device) []location.Fate {
	fates := r.cfg.Memory.TakeFates(d.Ref())
	if len(fates) == 0 {
		return nil
	}
	if d.Push.FateHeader {
		return fates
	}
	if r.cfg.Late != nil {
		r.cfg.Late(d, fates)
	}
	return nil
}

// withExpires is a Contact value with the expires parameter that we granted.
func withExpires(contact string, d time.Duration) string {
	uri, params := splitAddress(contact)
	var kept strings.Builder
	for _, p := range splitParams(params) {
		name, _, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "expires") {
			kept.WriteString(";" + p)
		}
	}
	return uri + kept.String() + ";expires=" + header.FormatSeconds(d)
}

// splitAddress splits a Contact value behind its address. A '>' may stand in quotes
// as well: in the display name, in +sip.instance.
func splitAddress(contact string) (address, params string) {
	quoted, escaped := false, false
	for i := range len(contact) {
		switch {
		case escaped:
			escaped = false
		case contact[i] == '\\' && quoted:
			escaped = true
		case contact[i] == '"':
			quoted = !quoted
		case contact[i] == '>' && !quoted:
			return contact[:i+1], contact[i+1:]
		}
	}
	return contact, ""
}

// splitParams splits ";a=b;c="d;e"" at the semicolons outside quotes.
func splitParams(s string) []string {
	var out []string
	quoted, escaped, start := false, false, 0
	for i := range len(s) {
		switch {
		case escaped:
			escaped = false
		case s[i] == '\\' && quoted:
			escaped = true
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			if p := strings.TrimSpace(s[start:i]); p != "" {
				out = append(out, p)
			}
			start = i + 1
		}
	}
	if p := strings.TrimSpace(s[start:]); p != "" {
		out = append(out, p)
	}
	return out
}

// shown is a stored Contact without what only its own device may see.
func shown(contact string) string {
	var uri sip.Uri
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(contact, &uri, &params); err != nil {
		return ""
	}
	c := sip.ContactHeader{Address: header.StripPush(uri), Params: header.StripPushParams(params)}
	return c.Value()
}
