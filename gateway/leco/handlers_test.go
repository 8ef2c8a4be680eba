package leco

import (
	"maps"
	"slices"
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
)

// The door carries out what the table of methods lists for it, and nothing else.
func TestHandlersAreThoseOfTheTable(t *testing.T) {
	want := methods.CarriedOutBy(control.DoorLECO)
	if got := slices.Sorted(maps.Keys(handlers)); !slices.Equal(got, want) {
		t.Errorf("the door carries out %q, the table wants %q", got, want)
	}
	for _, m := range methods.Describe(control.DoorLECO) {
		if slices.Contains(want, m.Name) != m.ByDoor {
			t.Errorf("%s is described as carried out by the door: %t", m.Name, m.ByDoor)
		}
	}
}
