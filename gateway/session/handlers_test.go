package session

import (
	"maps"
	"slices"
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
)

// A connection carries out what the table of methods lists for native sessions, and nothing else.
func TestHandlersAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	want := methods.CarriedOutBy(control.DoorNative)
	if got := slices.Sorted(maps.Keys(connHandlers)); !slices.Equal(got, want) {
		t.Errorf("a connection carries out %q, the table wants %q", got, want)
	}
}
