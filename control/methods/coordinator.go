// Package methods is COORDINATOR: what components may ask their coordinator by JSON-RPC, over every door, and how it
// asks components.
package methods

import (
	"context"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/wire"
)

// Coordinator answers what is asked of the COORDINATOR of one coordinator. Its methods
// are safe for concurrent use.
type Coordinator struct {
	*control.Core
	home      *home.Home
	directory *directory.Directory
	work      *work.Work
	calls     calls
}

// New returns a Coordinator that carries out these use cases; Run must be running for
// messages to COORDINATOR to be answered.
func New(core *control.Core, h *home.Home, d *directory.Directory, w *work.Work) *Coordinator {
	return &Coordinator{Core: core, home: h, directory: d, work: w}
}

// Ask hands a message of a session at home here to COORDINATOR and returns the
// content of its answer: nil is no answer. own (nil: none) are the door's methods.
// It blocks for what is asked.
func (c *Coordinator) Ask(ctx context.Context, s *home.Session, m *wire.Message, own DoorMethods) []byte {
	m.From, m.To = s.FullName(), c.Name()
	if c.calls.resolve(*m) || len(m.Payload) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, propose.Timeout)
	defer cancel()
	return c.serve(ctx, s.Row(), m.Payload[0], own)
}
