package registrar

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/location"
)

// registration is a REGISTER as the loop understood it.
type registration struct {
	aor       sipua.AOR
	path      header.Path
	edits     []location.Edit
	contacts  []bound
	services  []header.FeatureCaps // what the answer's Feature-Caps say
	announced bool                 // a Contact has a push token
	outbound  bool                 // a reg-id was bound for a UA that knows RFC 5626
}

// bound is one Contact of the request that asks for a binding.
type bound struct {
	value   string // byte for byte
	expires time.Duration
}

// authorise checks a REGISTER from the credentials to the last Contact and says
// what it changes. The error's status is the answer.
func (r *Registrar) authorise(tx *sipua.ServerTx, order sequence) (registration, error) {
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
	if err := r.inOrder(who, req, order); err != nil {
		return reg, err
	}
	if reg.path, err = header.ParsePath(sipua.Values(req, header.NamePath)...); err != nil {
		return reg, fmt.Errorf("path: %w", err)
	}
	caps, err := header.ParseFeatureCaps(sipua.Values(req, header.NameFeatureCaps)...)
	if err != nil {
		return reg, fmt.Errorf("Feature-Caps: %w", err)
	}
	in := intake{r: r, tx: tx, reg: &reg, now: time.Now(), othersPush: header.CarriesPNS(caps)}
	for _, c := range contacts {
		if err := in.contact(c); err != nil {
			return reg, err
		}
	}
	select {
	case <-tx.Flow().Done():
		// Its end may have been told before, so nobody would take it out of the binding.
		return reg, sipua.ErrFlowGone
	default:
	}
	order[orderKey{who, req.CallID().Value()}] = req.CSeq().SeqNo
	// New bindings first: a phone that changes its address removes the old one and
	// adds the new one in one request, and is never logged out in between.
	reg.edits = append(in.upserts, in.leaving()...)
	tx.Flow().SetParty(party(who, in.instance))
	if r.cfg.Proved != nil {
		r.cfg.Proved(tx.Flow())
	}
	if len(in.upserts) > 0 {
		r.pin(who, tx.Flow(), in.latest)
	}
	return reg, nil
}

// party is who is on a flow: one device, or, if it does not say which, its user.
func party(who sipua.AOR, instance string) string {
	if instance == "" {
		return "user " + who.String()
	}
	return "device " + instance + " of " + who.String()
}

// sequence is the last CSeq of each Call-ID in a batch, which Memory does not have
// yet.
type sequence map[orderKey]uint32

type orderKey struct {
	aor    sipua.AOR
	callID string
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
// Call-ID (RFC 3261 s10.3 step 7). The same number again changes nothing, so it
// passes: a phone repeats a REGISTER over a new connection.
func (r *Registrar) inOrder(who sipua.AOR, req *sip.Request, order sequence) error {
	id, n := req.CallID().Value(), req.CSeq().SeqNo
	last := order[orderKey{who, id}]
	for _, d := range r.cfg.Memory.Devices(who) {
		for _, b := range d.Bindings {
			if b.CallID == id {
				last = max(last, b.CSeq)
			}
		}
	}
	if n < last {
		return sipua.Reject(500, "Out of Order")
	}
	return nil
}

// intake turns the Contacts of one REGISTER into edits.
type intake struct {
	r          *Registrar
	tx         *sipua.ServerTx
	reg        *registration
	now        time.Time
	instance   string    // of the first Contact that has one
	latest     time.Time // end of the longest binding
	othersPush bool      // somebody nearer to the app pushes (RFC 8599 s5.6.1.1)
	upserts    []location.Edit
	removals   []location.Edit
}

func (in *intake) contact(c *sip.ContactHeader) error {
	asked, said := header.Expires(*c, sipua.Values(in.tx.Request, "Expires")...)
	if c.Address.Wildcard {
		in.everything()
		return nil
	}
	if s := strings.ToLower(c.Address.Scheme); s != "sip" && s != "sips" || c.Address.Host == "" {
		return sipua.Reject(400, "Contact must be a SIP URI") // another could not be called
	}
	instance, err := header.Instance(*c)
	if err != nil {
		return err
	}
	instance = location.InstanceID(instance)
	in.instance = cmp.Or(in.instance, instance)
	regID, err := header.RegID(*c)
	if err != nil {
		return err
	}
	push, err := header.ParsePush(*c)
	if said && asked == 0 { // a log-out needs no working push
		in.removals = append(in.removals, location.RemoveBinding{AOR: in.reg.aor, Contact: c.Value(), RegID: regID, Instance: instance,
			Token: cmp.Or(push.WakeToken(), push.AlertToken), At: in.now})
		return nil
	}
	if in.othersPush {
		push, err = header.Push{}, nil
	}
	if err == nil {
		err = in.r.serves(push)
	}
	if err != nil {
		return in.refusedPush(err)
	}
	lease, err := in.r.lease(in.reg.aor, push.HasToken(), asked, said)
	if err != nil {
		return err
	}
	in.reg.outbound = in.reg.outbound || regID > 0 && instance != "" && in.knows("outbound")
	in.bind(c, push, location.Binding{Instance: instance, RegID: regID, Expires: in.now.Add(lease)})
	return nil
}

// knows says that the UA supports an extension.
func (in *intake) knows(tag string) bool {
	return slices.ContainsFunc(sipua.Tokens(sipua.Values(in.tx.Request, "Supported")), func(s string) bool { return strings.EqualFold(s, tag) })
}

// leaving are the removals but for those of a Contact that the same request adds:
// when only the push token in it changes, old and new are one binding.
func (in *intake) leaving() []location.Edit {
	return slices.DeleteFunc(in.removals, func(e location.Edit) bool {
		gone, ok := e.(location.RemoveBinding)
		return ok && slices.ContainsFunc(in.upserts, func(e location.Edit) bool {
			added, ok := e.(location.Upsert)
			return ok && location.NormalContact(added.Binding.Contact) == location.NormalContact(gone.Contact) &&
				(gone.RegID == 0 || gone.RegID == added.Binding.RegID)
		})
	})
}

// everything is Contact "*".
func (in *intake) everything() {
	req := in.tx.Request
	in.removals = append(in.removals, location.RemoveBinding{AOR: in.reg.aor, Contact: "*", At: in.now, By: location.Sender{
		Flow: location.FlowID(in.tx.Flow().ID()), CallID: req.CallID().Value(), UserAgent: header.Clean(sipua.Value(req, "User-Agent"))}})
}

// refusedPush adds to a 555 what would work instead (RFC 8599 s4.1.5).
func (in *intake) refusedPush(err error) error {
	in.r.log.Info("push parameters refused", "aor", in.reg.aor.String(), "error", err)
	if !errors.Is(err, header.ErrUnsupportedProvider) {
		return err
	}
	rej := sipua.Reject(555, "")
	for _, name := range in.r.cfg.Push.Services {
		rej.Headers = append(rej.Headers, sipua.HeaderLine{Name: header.NameFeatureCaps, Value: header.FeatureCaps{PNS: name}.String()})
	}
	return rej
}

// bind adds the edit for one binding and what the answer says of it.
func (in *intake) bind(c *sip.ContactHeader, push header.Push, b location.Binding) {
	req, f := in.tx.Request, in.tx.Flow()
	b.Contact, b.Flow, b.Node, b.Path = c.Value(), location.FlowID(f.ID()), in.r.cfg.Node, in.reg.path
	b.CallID, b.CSeq, b.UserAgent = req.CallID().Value(), req.CSeq().SeqNo, header.Clean(sipua.Value(req, "User-Agent"))
	b.Received, b.Transport, b.Registered = f.Remote(), f.Transport().Param(), in.now
	up := location.Upsert{AOR: in.reg.aor, Binding: b, MaxContacts: in.r.domains[in.reg.aor.Domain].MaxContacts}
	up.Push.FateHeader = header.ReadsFate(*c)
	switch {
	case push.HasToken():
		up.Announced, in.reg.announced = location.Tokens, true
		up.Push = pushInfo(push, up.Push.FateHeader)
	case push.Query != header.QueryNone:
		up.Announced = location.Query
	}
	up.InCall = in.inCall(b, push)
	if push.Present {
		in.r.log.Info("push parameters understood", "aor", in.reg.aor.String(), "push", push)
	}
	lease := b.Expires.Sub(in.now)
	in.upserts = append(in.upserts, up)
	in.reg.contacts = append(in.reg.contacts, bound{value: b.Contact, expires: lease})
	in.reg.services = append(in.reg.services, in.services(c, push, lease)...)
	if b.Expires.After(in.latest) {
		in.latest = b.Expires
	}
}

func (in *intake) inCall(b location.Binding, push header.Push) bool {
	if in.r.cfg.InCall == nil {
		return false
	}
	key, ok := location.MatchDevice(in.r.cfg.Memory.Devices(in.reg.aor), b, push.WakeToken(), push.AlertToken)
	return ok && in.r.cfg.InCall(location.Ref{AOR: in.reg.aor, Key: key})
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
	info := location.PushInfo{Provider: string(p.Provider), BundleID: p.App(), TeamID: p.TeamID, FateHeader: fates,
		VoIP: location.Token{Value: p.WakeToken(), Kind: location.VoIP}, Alert: location.Token{Value: p.AlertToken, Kind: location.Alert}}
	switch p.Environment {
	case header.Production:
		info.Environment = location.Production
	case header.Sandbox:
		info.Environment = location.Sandbox
	}
	return info
}

// serves refuses what we cannot push to: 555 tells the app that it must not rely
// on being woken (RFC 8599 s5.6.1.1), and a query the same of the service that it
// asks for.
func (r *Registrar) serves(p header.Push) error {
	switch {
	case p.HasToken():
		if r.cfg.Push.Serves == nil || !r.cfg.Push.Serves(string(p.Provider), p.App(), p.TeamID) {
			return fmt.Errorf("no push.apps entry for %s app %q: %w", p.Provider, p.App(), header.ErrUnsupportedProvider)
		}
	case p.Query == header.QueryOne:
		if !slices.Contains(r.cfg.Push.Services, string(p.Provider)) {
			return fmt.Errorf("no push.apps entry for %s: %w", p.Provider, header.ErrUnsupportedProvider)
		}
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
