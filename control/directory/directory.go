// Package directory holds the use cases about components: to sign in and out, and who is signed in where.
package directory

import (
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
)

// Directory is what doors call. Its methods are safe for concurrent use and
// return *wire.Error for everything a caller can act on.
type Directory struct {
	*control.Core
	home *home.Home
}

// New returns the use cases.
func New(core *control.Core, h *home.Home) *Directory { return &Directory{core, h} }
