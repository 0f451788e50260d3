package daemon

import (
	"fmt"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/bridge/route"
	"wakebridge/config"
	"wakebridge/sipua"
)

// router adapts the routing table to the bridge.
type router struct{ table *route.Table }

func newRouter(cfg *config.Config) (*router, error) {
	rc := route.Config{}
	for _, d := range cfg.Domains {
		rc.Domains = append(rc.Domains, d.Name)
		for _, u := range d.Users {
			rc.Users = append(rc.Users, route.User{Name: u.Name, Domain: d.Name, Numbers: u.Numbers})
		}
	}
	for _, t := range cfg.Trunks {
		rc.Trunks = append(rc.Trunks, t.Name)
	}
	for _, r := range cfg.Routes {
		rule := route.Rule{Name: r.Name, From: r.From, Match: r.Match, To: route.Target(r.To), User: r.User, Trunk: r.Trunk, Number: r.Number}
		if rule.To == route.Reject {
			rule.Status = r.Status
		}
		rc.Rules = append(rc.Rules, rule)
	}
	table, err := route.New(rc)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	return &router{table: table}, nil
}

// Route implements bridge.Router.
func (r *router) Route(q bridge.Query) bridge.Plan {
	req := route.Request{From: q.Origin.Trunk, Caller: q.Origin.Trunk, Called: called(q.Called), Host: q.Called.Host}
	if q.Origin.Trunk == "" {
		req.From, req.Caller = route.FromUsers, q.Origin.User.String()
	}
	d := r.table.Plan(req)
	p := bridge.Plan{Reason: d.Reason}
	switch d.To {
	case route.ToUser:
		p.User = sipua.NewAOR(d.User.Name, d.User.Domain)
	case route.ToTrunk:
		p.Trunk, p.Number = d.Trunk, d.Number
	default:
		p.Status = d.Status
	}
	return p
}

func called(uri sip.Uri) string {
	if uri.User == "" {
		return uri.Raw()
	}
	return uri.User
}
