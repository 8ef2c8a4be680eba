// Package snapshots holds the use cases about the whole state as a file: to write it out, and to put one in its place.
package snapshots

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// Snapshots is what doors call. Its methods are safe for concurrent use and return
// *wire.Error for everything a caller can act on.
type Snapshots struct {
	*control.Core
	dir       string
	restoring atomic.Bool // a file is taken in: one at a time, since each may fill the disk
}

// New returns the use cases. What is restored lies in dir meanwhile, which is this process's
// alone: what one that was killed left there is removed. "" is the system's temporary
// directory.
func New(core *control.Core, dir string) *Snapshots {
	if dir != "" {
		left, _ := filepath.Glob(filepath.Join(dir, tempName)) // the pattern is well formed
		for _, name := range left {
			_ = os.Remove(name) // it only takes room
		}
	}
	return &Snapshots{Core: core, dir: dir}
}

// Write writes a state as a file of package snapfile. Nothing waits for it meanwhile,
// however slow w is; it ends with its context, and once its principal's token ends.
type Write func(ctx context.Context, w io.Writer) error

// Snapshot returns what writes a state that is at least as new as the call. Errors:
// unavailable (also: the cluster is just being founded).
func (s *Snapshots) Snapshot(ctx context.Context, who control.Principal) (Write, control.Fresh, error) {
	if err := s.Authorize(who, control.Admin, control.Thing{}); err != nil {
		return nil, control.Fresh{}, err
	}
	view, fresh, err := s.View(ctx, control.Read{Consistency: string(raftnode.Strict)})
	if err == nil {
		err = s.Authorize(who, control.Admin, control.Thing{}) // it may have ended while the read waited
	}
	if err != nil {
		return nil, fresh, err
	}
	if view.ClusterID == "" {
		return nil, fresh, wire.NotTried("the cluster has no id yet: it is just being founded; try again in a moment")
	}
	at := s.Now()
	return func(ctx context.Context, w io.Writer) error {
		held, release := s.Hold(ctx, who)
		defer release()
		return view.WriteFile(held, w, s.Self().ID, at)
	}, fresh, nil
}
