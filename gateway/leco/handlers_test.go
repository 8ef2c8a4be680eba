package leco

import (
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
)

// The door carries out what the table of methods lists for it, and nothing else.
func TestHandlersAreThoseOfTheTable(t *testing.T) {
	for _, m := range methods.Describe(control.DoorLECO) {
		if _, ok := handlers[m.Name]; ok != m.ByDoor {
			t.Errorf("%s: the door has a handler: %t, the table wants one: %t", m.Name, ok, m.ByDoor)
		}
	}
	for name := range handlers {
		if !methods.CarriedOutBy(control.DoorLECO, name) {
			t.Errorf("the table does not list %s for the LECO door", name)
		}
	}
}
