package control

import (
	"slices"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/wire"
)

// What refusals are counted by.
var (
	refusalDoors = [...]string{audit.DoorHTTP, audit.DoorNative, audit.DoorWS, audit.DoorLECO, audit.DoorPSI}
	refusalCodes = [...]wire.Code{wire.CodeUnauthorized, wire.CodeForbidden}
)

// refusals counts what was refused for want of a token or a right.
type refusals [len(refusalDoors)][len(refusalCodes)]atomic.Uint64

// count counts one outcome, unless its code is another.
func (r *refusals) count(door string, code wire.Code) {
	c := slices.Index(refusalCodes[:], code)
	if c < 0 {
		return
	}
	if d := slices.Index(refusalDoors[:], door); d >= 0 {
		r[d][c].Add(1)
	}
}

// RefusalCount is how much was refused at one door with one code.
type RefusalCount struct {
	Door  string // as the audit trail names it
	Code  wire.Code
	Count uint64
}

// Refused returns what was refused here for want of a token or a right: every door and
// code, with 0 where that has not happened.
func (c *Core) Refused() (all []RefusalCount) {
	for d, door := range refusalDoors {
		for i, code := range refusalCodes {
			all = append(all, RefusalCount{door, code, c.refused[d][i].Load()})
		}
	}
	return all
}

// CountRefused counts a refusal of which the audit trail has no line: of a message.
func (c *Core) CountRefused(door string, err error) { c.refused.count(door, wire.CodeOf(err)) }
