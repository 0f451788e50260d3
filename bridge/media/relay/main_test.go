package relay

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	maybeRelay()
	goleak.VerifyTestMain(m)
}
