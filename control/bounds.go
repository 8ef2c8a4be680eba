package control

import (
	"context"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Bounds are what users can make the replicated state grow to; every coordinator
// holds all of it in memory. Where a bound is reached, what would go beyond it is
// refused as busy, or fails a part (results), and everything else goes on. What
// is on its way meanwhile may exceed those of jobs and components a little, those
// of results are exact. 0 is the default; the same at all coordinators.
type Bounds struct {
	Jobs       int   // that are kept, ended ones included; default 20,000
	Parts      int   // of all jobs together; default 1,000,000
	InputBytes int64 // of all jobs together; default 256 MiB
	// JobResultBytes bounds the results of one job, with the error texts of its
	// parts; default 16 MiB. It travels with the job.
	JobResultBytes int64
	ResultBytes    int64 // of all jobs together; default 256 MiB

	Components     int   // default 1,000,000
	ComponentBytes int64 // names, labels, places and runtimes of all components; default 512 MiB

	// RestoreBytes bounds a snapshot that is restored, uncompressed: while it is, every
	// coordinator holds the state of before, that of the file, and the file itself.
	// Default 512 MiB.
	RestoreBytes int64
}

func (b Bounds) withDefaults() Bounds {
	def := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	defInt := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	defInt(&b.Jobs, 20_000)
	defInt(&b.Parts, 1_000_000)
	def(&b.InputBytes, 256<<20)
	def(&b.JobResultBytes, 16<<20)
	def(&b.ResultBytes, 256<<20)
	defInt(&b.Components, 1_000_000)
	def(&b.ComponentBytes, 512<<20)
	def(&b.RestoreBytes, fsm.DefaultRestoreBytes)
	return b
}

// AdmitJob refuses a job for which there is no room, and every job while no record of it can be made (see Recordable).
// Errors: busy, unavailable.
func (c *Core) AdmitJob(ctx context.Context, id string, spec jobs.Spec) error {
	if err := c.Recordable(); err != nil {
		return err
	}
	return c.Admit(ctx, func(view *fsm.State) (bool, error) { return c.bounds.forJob(view, id, spec) })
}

// AdmitSession refuses a sign-in for which there is no room. Errors as of
// AdmitJob.
func (c *Core) AdmitSession(ctx context.Context, in registry.SignIn) error {
	return c.Admit(ctx, func(view *fsm.State) (bool, error) { return c.bounds.forSession(view, in) })
}

// Admit refuses what makes the state grow where room says that there is none, and while the disks of the coordinators are
// full. Of what takes no room (a repeat) room says that it does not grow. Errors: those of room, unavailable.
func (c *Core) Admit(ctx context.Context, room func(*fsm.State) (grows bool, err error)) error {
	_, err := Certain(ctx, c, func(view *fsm.State) (struct{}, error) {
		grows, err := room(view)
		if err == nil && grows {
			err = c.refuses()
		}
		return struct{}{}, err
	})
	return err
}

// GrowthRefused says why nothing that makes the state grow is taken in now: the disks of the coordinators are full. Nil: it
// is. Errors: unavailable.
func (c *Core) GrowthRefused() error { return c.refuses() }

// roomAfter is when a repeat of what found no room makes sense.
const roomAfter = 10 * time.Second

func noRoom(format string, args ...any) error {
	e := wire.Refuse(wire.CodeBusy, format, args...)
	e.RetryAfter = roomAfter
	return e
}

// forJob says whether one more job finds room. One that is there already is a
// repeat, which takes none: the state does not grow.
func (b Bounds) forJob(view *fsm.State, id string, spec jobs.Spec) (grows bool, err error) {
	if _, repeat := view.Jobs.Job(id); repeat {
		return false, nil
	}
	const wayOut = "forget jobs that have ended (raftctl jobs forget, or DELETE /v1/jobs/ID?forget=1), or give jobs a shorter keep"
	switch has := view.Jobs.Size(); {
	case has.Jobs >= b.Jobs:
		return true, noRoom("there are %d jobs, and at most %d are kept: %s", has.Jobs, b.Jobs, wayOut)
	case has.Parts+spec.Parts() > b.Parts:
		return true, noRoom("%d parts more do not fit: all jobs have %d of at most %d: %s", spec.Parts(), has.Parts, b.Parts, wayOut)
	case has.Input+spec.Bytes() > b.InputBytes:
		return true, noRoom("%d bytes of scripts, args and items more do not fit: all jobs have %d of at most %d: %s", spec.Bytes(), has.Input, b.InputBytes, wayOut)
	case has.Results >= b.ResultBytes:
		return true, noRoom("there is no room for results: those of all jobs have %d of at most %d bytes: %s", has.Results, b.ResultBytes, wayOut)
	}
	return true, nil
}

// forSession says whether a sign-in finds room. A session that is there already
// counts with what it changes: a repeat, or a take-over by as much, does not grow.
func (b Bounds) forSession(view *fsm.State, in registry.SignIn) (grows bool, err error) {
	more, has := in.Bytes(), view.Registry.Bytes()
	old, live := view.Registry.SessionByID(in.Session)
	if live {
		more -= old.Bytes()
	}
	switch {
	case !live && view.Registry.Len() >= b.Components:
		return true, noRoom("%d components are signed in, and at most %d may be: sign some out, or let leases that nobody needs end", view.Registry.Len(), b.Components)
	case more > 0 && has+more > b.ComponentBytes:
		return true, noRoom("%d bytes more do not fit: names, labels, places and runtimes of all components have %d of at most %d: sign some out, or use less and shorter labels",
			more, has, b.ComponentBytes)
	}
	return !live || more > 0, nil
}

// JobSize is what all jobs take, beside the bounds.
func (b Bounds) JobSize(view *fsm.State) *wire.JobSize {
	has := view.Jobs.Size()
	return &wire.JobSize{
		Jobs: has.Jobs, MaxJobs: b.Jobs, Parts: has.Parts, MaxParts: b.Parts,
		InputBytes: has.Input, MaxInputBytes: b.InputBytes, ResultBytes: has.Results, MaxResultBytes: b.ResultBytes,
	}
}
