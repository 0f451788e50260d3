package daemon

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/sipua"
)

func routing() *config.Config {
	cfg := config.Default()
	cfg.Domains = people()
	cfg.Trunks = []config.Trunk{{Name: "pbx"}, {Name: "carrier"}}
	cfg.Routes = []config.Route{
		{Name: "premium", Match: `^\+?900`, To: "reject", Status: 603},
		{Name: "short", From: "users", Match: `^9([0-9]+)$`, To: "trunk", Trunk: "carrier", Number: "*99#$1"},
		{Name: "out", From: "users", Match: `^\+?[0-9]{3,15}$`, To: "trunk", Trunk: "pbx", Status: 403},
		{Name: "reception", From: "pbx", Match: `^0$`, To: "user", User: "bob"},
		{Name: "other alice", From: "pbx", Match: `^A$`, To: "user", User: "alice@two.example"},
	}
	return cfg
}

func TestRoute(t *testing.T) {
	table, err := newRouter(routing())
	if err != nil {
		t.Fatal(err)
	}
	pbx, carrier := bridge.Origin{Trunk: "pbx"}, bridge.Origin{Trunk: "carrier"}
	user := bridge.Origin{User: sipua.NewAOR("bob", realm)}
	alice, bob := sipua.NewAOR("alice", realm), sipua.NewAOR("bob", realm)
	tests := []struct {
		name   string
		origin bridge.Origin
		called string
		want   bridge.Plan // but for Reason
		why    string      // contained in Reason
	}{
		{"a number", pbx, "sip:201@10.0.0.1", bridge.Plan{User: alice}, "201"},
		{"another number, with separators", pbx, "sip:+49(30)201@10.0.0.1", bridge.Plan{User: alice}, ""},
		{"a tel URI", pbx, "tel:+49-30-201;phone-context=x", bridge.Plan{User: alice}, ""},
		{"a name", user, "sip:alice@" + realm, bridge.Plan{User: alice}, ""},
		{"the same name elsewhere", user, "sip:alice@two.example", bridge.Plan{User: sipua.NewAOR("alice", "two.example")}, ""},
		{"a foreign domain", user, "sip:alice@example.org", bridge.Plan{Status: 404}, "none of our domains"},
		{"a route's user", pbx, "sip:0@10.0.0.1", bridge.Plan{User: bob}, "reception"},
		{"a route's user with its domain", pbx, "sip:A@10.0.0.1", bridge.Plan{User: sipua.NewAOR("alice", "two.example")}, ""},
		{"not from there", carrier, "sip:0@10.0.0.1", bridge.Plan{Status: 404}, "0 from trunk carrier"},
		{"rejected, whoever calls", pbx, "sip:900123@10.0.0.1", bridge.Plan{Status: 603}, "premium"},
		{"out, as dialled", user, "sip:+4989123@" + realm, bridge.Plan{Trunk: "pbx", Number: "+4989123"}, "out"},
		{"out, by template", user, "sip:9123@" + realm, bridge.Plan{Trunk: "carrier", Number: "*99#123"}, "short"},
		{"escaped", user, "sip:%39123@" + realm, bridge.Plan{Trunk: "carrier", Number: "*99#123"}, ""},
		{"nothing leaves that a trunk dials", pbx, "sip:+4989123@10.0.0.1", bridge.Plan{Status: 404}, "no route matches number +4989123"},
		{"nobody", pbx, "sip:10.0.0.1", bridge.Plan{Status: 404}, "names nobody"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var uri sip.Uri
			if err := sip.ParseUri(tt.called, &uri); err != nil {
				t.Fatal(err)
			}
			got := table.Route(bridge.Query{Origin: tt.origin, Called: uri})
			if !strings.Contains(got.Reason, tt.why) || got.Reason == "" {
				t.Errorf("reason %q, want %q", got.Reason, tt.why)
			}
			got.Reason = ""
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBadRouteNamesItsKey(t *testing.T) {
	cfg := routing()
	cfg.Routes[1].Match = "("
	if _, err := newRouter(cfg); err == nil || !strings.Contains(err.Error(), "routes") || !strings.Contains(err.Error(), "short") {
		t.Errorf("%v", err)
	}
}
