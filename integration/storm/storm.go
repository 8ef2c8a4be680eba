// Package storm keeps the long tests, which throw faults or hostile input at a
// cluster for many seconds, out of the everyday run. Their names begin with
// TestStorm, and .ci/run runs them in a step of their own:
//
//	go test -race -tags storm -run TestStorm ./...
package storm

import (
	"strings"
	"testing"
)

// Only skips the test unless the tests were built for storms.
func Only(t *testing.T) {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestStorm") {
		t.Fatalf("%s is a storm that nobody runs: begin its name with TestStorm", t.Name())
	}
	if !built {
		t.Skip("a storm: go test -tags storm -run " + t.Name())
	}
}
