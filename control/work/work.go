// Package work holds the use cases about jobs: to submit, watch, cancel and forget them, and what workers report.
package work

import (
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
)

// Work is what doors call. Its methods are safe for concurrent use and return
// *wire.Error for everything a caller can act on.
type Work struct {
	*control.Core
	home *home.Home
}

// New returns the use cases.
func New(core *control.Core, h *home.Home) *Work { return &Work{core, h} }
