package locationtest

import (
	"testing"

	"wakebridge/sipua/location"
)

func TestStore(t *testing.T) {
	Contract(t, func(*testing.T) location.Store { return &Store{} })
}
