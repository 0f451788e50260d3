package fcm_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/push/fcm"
	"wakebridge/push/fcm/fcmsim"
)

func TestAccountFile(t *testing.T) {
	sim, err := fcmsim.New("example")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	good, err := sim.Account()
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	tests := []struct {
		name string
		text string
		mode os.FileMode
		want error
	}{
		{"good", text, 0o600, nil},
		{"read-only", text, 0o400, nil},
		{"read by the group", text, 0o640, fcm.ErrAccountExposed},
		{"read by others", text, 0o604, fcm.ErrAccountExposed},
		{"no JSON", "MIIEvQ", 0o600, fcm.ErrBadAccount},
		{"another type", strings.Replace(text, `"service_account"`, `"authorized_user"`, 1), 0o600, fcm.ErrBadAccount},
		{"no address", strings.Replace(text, `"client_email"`, `"email"`, 1), 0o600, fcm.ErrBadAccount},
		{"no key", strings.Replace(text, `"private_key"`, `"key"`, 1), 0o600, fcm.ErrBadAccount},
		{"a key that is none", strings.Replace(text, "MII", "MIX", 1), 0o600, fcm.ErrBadAccount},
		{"plain http", strings.Replace(text, "https://", "http://", 1), 0o600, fcm.ErrBadAccount},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "account.json")
			if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
				t.Fatal(err)
			}
			a, err := fcm.LoadAccount(path)
			if !errors.Is(err, tt.want) {
				t.Fatal(err)
			}
			if tt.want == nil && (a.Email != sim.Email() || a.ProjectID != "example" || a.TokenURL != sim.URL()+"/token") {
				t.Errorf("%+v", a)
			}
			if shown := fmt.Sprintf("%v %+v %#v %v", a, a, a, err); strings.Contains(shown, "MII") || strings.Contains(shown, "PRIVATE") {
				t.Error(shown)
			}
		})
	}
	if _, err := fcm.LoadAccount(t.TempDir()); !errors.Is(err, fcm.ErrBadAccount) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := fcm.LoadAccount(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}
