package push

import "testing"

func TestChoose(t *testing.T) {
	t.Parallel()
	const (
		v = DeviceToken("11112222333344445555")
		a = DeviceToken("aaaabbbbccccddddeeee")
	)
	all := Capability{VoIP: true, Alert: true}
	tests := []struct {
		name string
		want Want
		can  Capability
		dev  Device
		kind Kind
		why  Reason
	}{
		{"both tokens, both credentials", ByPolicy, all, Device{VoIP: v, Alert: a}, VoIP, ""},
		{"VoIP token only", ByPolicy, all, Device{VoIP: v}, VoIP, ""},
		{"no CallKit: alert token only", ByPolicy, all, Device{Alert: a}, Alert, ""},
		{"no token", ByPolicy, all, Device{}, Alert, NoToken},
		{"no VoIP certificate", ByPolicy, Capability{Alert: true}, Device{VoIP: v, Alert: a}, Alert, ""},
		{"no VoIP certificate, VoIP token only", ByPolicy, Capability{Alert: true}, Device{VoIP: v}, VoIP, NoCredential},
		{"VoIP certificate only", ByPolicy, Capability{VoIP: true}, Device{VoIP: v, Alert: a}, VoIP, ""},
		{"VoIP certificate only, alert token only", ByPolicy, Capability{VoIP: true}, Device{Alert: a}, Alert, NoCredential},
		{"no credential", ByPolicy, Capability{}, Device{VoIP: v, Alert: a}, Alert, NoCredential},
		{"no credential, VoIP token only", ByPolicy, Capability{}, Device{VoIP: v}, VoIP, NoCredential},

		{"VoIP asked for", OnlyVoIP, all, Device{VoIP: v, Alert: a}, VoIP, ""},
		{"VoIP asked for, none there", OnlyVoIP, all, Device{Alert: a}, VoIP, NoToken},
		{"VoIP asked for, not allowed", OnlyVoIP, Capability{Alert: true}, Device{VoIP: v, Alert: a}, VoIP, NoCredential},
		{"second chance", OnlyAlert, all, Device{VoIP: v, Alert: a}, Alert, ""},
		{"second chance without alert token", OnlyAlert, all, Device{VoIP: v}, Alert, NoToken},
		{"second chance without credential", OnlyAlert, Capability{VoIP: true}, Device{VoIP: v, Alert: a}, Alert, NoCredential},
		{"refresh", OnlyBackground, all, Device{VoIP: v, Alert: a}, Background, ""},
		{"refresh without alert token", OnlyBackground, all, Device{VoIP: v}, Background, NoToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := Choose(tt.want, tt.can, tt.dev)
			want := Choice{Kind: tt.kind, Reason: tt.why}
			if tt.why == "" {
				want.Token = a
				if tt.kind == VoIP {
					want.Token = v
				}
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
