package methods

import (
	"maps"
	"slices"

	"github.com/folkmoot/folkmoot/control"
)

// Description is one method as rpc.discover describes it.
type Description struct {
	Name    string
	Summary string
	Params  []Param // in their order in an array
	// ByDoor: the door carries the method out itself; else CallAs does.
	ByDoor bool
}

// Describe returns the methods that a door describes to its sessions, by name.
// rpc.discover is not among them, nor is what the door of native sessions alone
// carries out.
func Describe(door control.Door) []Description {
	var list []Description
	for _, name := range slices.Sorted(maps.Keys(table)) {
		switch m := table[name]; {
		case door == control.DoorLECO && m.atLECO != "":
			list = append(list, Description{name, m.atLECO, m.params, true})
		case m.do != nil:
			list = append(list, Description{name, m.summary, m.params, false})
		}
	}
	return list
}

// CarriedOutBy returns the methods that a door carries out itself, by name.
func CarriedOutBy(door control.Door) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(table)) {
		m := table[name]
		if door == control.DoorLECO && m.atLECO != "" || door == control.DoorNative && m.atNative {
			names = append(names, name)
		}
	}
	return names
}

// discover is the OpenRPC document of COORDINATOR.
func (c *Coordinator) discover() any {
	type described struct {
		Name    string         `json:"name"`
		Summary string         `json:"summary"`
		Params  []Param        `json:"params"`
		Result  map[string]any `json:"result"`
	}
	list := []described{}
	for _, m := range Describe(control.DoorNative) {
		params := m.Params
		if params == nil {
			params = []Param{}
		}
		list = append(list, described{m.Name, m.Summary, params, map[string]any{"name": "result", "schema": map[string]any{}}})
	}
	return map[string]any{
		"openrpc": "1.2.6",
		"info":    map[string]any{"title": c.Name(), "version": c.Self().Version},
		"methods": list,
	}
}
