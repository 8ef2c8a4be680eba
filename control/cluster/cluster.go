// Package cluster holds the use cases about the coordinators: who is a member, who leads, and how each of them is.
package cluster

import (
	"sync"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/wire"
)

// Cluster is what doors call. Its methods are safe for concurrent use and return
// *wire.Error for everything a caller can act on.
type Cluster struct {
	*control.Core
	home     *home.Home
	describe func(*wire.Status)
	debug    WriteDebug

	debugging sync.Mutex // held while debug runs: it costs memory and time
}

// New returns the use cases. describe, if not nil, completes the answer of Status
// with what only the one who put the coordinator together knows (timeouts,
// insecure, ...); debug, if not nil, is what Debug writes.
func New(core *control.Core, h *home.Home, describe func(*wire.Status), debug WriteDebug) *Cluster {
	return &Cluster{Core: core, home: h, describe: describe, debug: debug}
}
