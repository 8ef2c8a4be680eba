package work

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// Submit hands a job in and returns it with the index of the write. Without
// in.ID the id comes from the idempotency key (a repeat is the same job), or a
// new one is minted. The same id with another content is conflict; with the
// same, the job is Known. Errors: invalid (with the field), too_large, conflict,
// busy (no room, see Bounds), unavailable, unknown (repeat with the same id or
// key).
func (w *Work) Submit(ctx context.Context, who control.Principal, in wire.SubmitJob, key string) (wire.Job, uint64, error) {
	if err := w.Authorize(who, control.JobsWrite, control.Thing{Namespace: namespaceOf(in), ID: in.ID}); err != nil {
		return wire.Job{}, 0, err
	}
	if err := control.CheckKey(key); err != nil {
		return wire.Job{}, 0, err
	}
	spec, err := jobs.Check(in)
	if err != nil {
		return wire.Job{}, 0, err
	}
	id := in.ID
	switch {
	case id == "" && key != "":
		id, _ = control.DeriveSecret(key, "job")
	case id == "":
		if id, _, err = w.NewSecret(); err != nil {
			return wire.Job{}, 0, err
		}
	}
	if err := w.AdmitJob(ctx, id, spec); err != nil {
		return wire.Job{}, 0, err
	}
	job, index, err := propose.Do[jobs.Job](ctx, w.Proposer(), jobs.KindSubmit, who.Author(control.JobsWrite, namespaceOf(in)), jobs.Submit{
		ID: id, Spec: spec, By: who.Name(), ResultQuota: w.Bounds().JobResultBytes,
	})
	if err != nil {
		return wire.Job{}, index, err
	}
	out := job.Wire(true)
	out.Known = job.SubmitIndex != index
	return out, index, nil
}

// CancelJob ends a job that has not ended; one that was cancelled before is
// answered as it is. reason "" is "cancelled by its user". Errors: not_found,
// conflict (it ended otherwise), unavailable, unknown.
func (w *Work) CancelJob(ctx context.Context, who control.Principal, id, reason string) (wire.Job, uint64, error) {
	if err := w.Authorize(who, control.JobsWrite, control.Thing{ID: id}); err != nil {
		return wire.Job{}, 0, err
	}
	if reason == "" {
		reason = "cancelled by its user"
	}
	if !control.PlainText(reason, 1024) {
		return wire.Job{}, 0, wire.Invalid("reason", "a reason is at most 1024 bytes of plain text")
	}
	known, err := control.Certain(ctx, w.Core, func(view *fsm.State) (jobs.Job, error) { return w.jobFor(view, who, control.JobsWrite, id) })
	if err != nil {
		return wire.Job{}, 0, err
	}
	job, index, err := propose.Do[jobs.Job](ctx, w.Proposer(), jobs.KindCancel, who.Author(control.JobsWrite, known.InNamespace()), jobs.Cancel{ID: id, Reason: reason, State: "cancelled"})
	if err != nil {
		return wire.Job{}, index, err
	}
	return job.Wire(true), index, nil
}

// ForgetJob removes a job that has ended, with its results and logs, before its
// keep is over, and returns it as it was. Errors: not_found, conflict (it has not
// ended), unavailable, unknown (it is forgotten when it is not found any more).
func (w *Work) ForgetJob(ctx context.Context, who control.Principal, id string) (wire.Job, uint64, error) {
	if err := w.Authorize(who, control.JobsWrite, control.Thing{ID: id}); err != nil {
		return wire.Job{}, 0, err
	}
	namespace := ""
	was, err := control.Certain(ctx, w.Core, func(view *fsm.State) (wire.Job, error) {
		j, err := w.jobFor(view, who, control.JobsWrite, id)
		if err == nil && !jobs.Final(j.State) {
			err = wire.Refuse(wire.CodeConflict, "job %s is %s: cancel it first, only a job that has ended is forgotten", id, j.State)
		}
		if err != nil {
			return wire.Job{}, err
		}
		namespace = j.InNamespace()
		return jobWire(view, j, false), nil
	})
	if err != nil {
		return wire.Job{}, 0, err
	}
	_, index, err := propose.Do[struct{}](ctx, w.Proposer(), jobs.KindForget, who.Author(control.JobsWrite, namespace), jobs.Forget{ID: id})
	return was, index, err
}

// JobFilter chooses jobs; the zero value chooses all.
type JobFilter struct{ State, Name, Group, Namespace string }

// States of a job, of a part, and of a part that has ended.
var (
	jobStates   = []string{jobs.Queued, jobs.Running, "reducing", jobs.Done, jobs.Failed, jobs.Cancelled}
	partStates  = []string{jobs.Waiting, jobs.Assigned, jobs.Running, jobs.Done, jobs.Failed, jobs.Cancelled, jobs.Lost}
	finalStates = []string{jobs.Done, jobs.Failed, jobs.Cancelled, jobs.Lost}
)

// checkState refuses to choose by a state that there is not: it would choose
// nothing, and look like an answer.
func checkState(state string, states []string) error {
	if state != "" && !slices.Contains(states, state) {
		return wire.Invalid("state", "state %.40q is none of %s", state, strings.Join(states, ", "))
	}
	return nil
}

// Jobs lists jobs by id, without their scripts: those of f.Namespace, which the
// principal must be allowed to read, or without one all that it may read. Errors:
// forbidden, invalid, unavailable.
func (w *Work) Jobs(ctx context.Context, who control.Principal, r control.Read, f JobFilter, p control.Page) (wire.Jobs, control.Fresh, error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{Namespace: f.Namespace}); err != nil {
		return wire.Jobs{}, control.Fresh{}, err
	}
	limit, err := p.Size()
	if err != nil {
		return wire.Jobs{}, control.Fresh{}, err
	}
	if err := checkState(f.State, jobStates); err != nil {
		return wire.Jobs{}, control.Fresh{}, err
	}
	if err := jobs.CheckNamespace(f.Namespace); err != nil {
		return wire.Jobs{}, control.Fresh{}, err
	}
	view, visible, fresh, err := w.ViewFor(ctx, who, control.JobsRead, r, control.Part{Resource: fsm.Jobs})
	if err != nil {
		return wire.Jobs{}, fresh, err
	}
	list := wire.Jobs{Jobs: []wire.Job{}}
	rows := view.Jobs.Jobs()
	if p.After != "" {
		rows = view.Jobs.JobsAfter(p.After)
	}
	for j := range rows {
		if !visible.Include(j.InNamespace()) || f.Namespace != "" && f.Namespace != j.InNamespace() {
			continue
		}
		w := jobWire(view, j, false)
		if f.State != "" && w.State != f.State || f.Name != "" && w.Name != f.Name || f.Group != "" && w.Group != f.Group {
			continue
		}
		if len(list.Jobs) == limit {
			list.Next = list.Jobs[limit-1].ID
			break
		}
		list.Jobs = append(list.Jobs, w)
	}
	return list, fresh, nil
}

// Job returns one job with its script. Errors: not_found, unavailable.
func (w *Work) Job(ctx context.Context, who control.Principal, r control.Read, id string) (wire.Job, control.Fresh, error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: id}); err != nil {
		return wire.Job{}, control.Fresh{}, err
	}
	view, _, fresh, err := w.ViewFor(ctx, who, control.JobsRead, r, onJob(id))
	if err != nil {
		return wire.Job{}, fresh, err
	}
	j, err := w.jobFor(view, who, control.JobsRead, id)
	if err != nil {
		return wire.Job{}, fresh, err
	}
	return jobWire(view, j, true), fresh, nil
}

// Parts lists the parts of a job by number, in the given state only if state
// is not "", with items and results. Page.After is the number of the last part
// before. Errors: not_found, invalid, unavailable.
func (w *Work) Parts(ctx context.Context, who control.Principal, r control.Read, id, state string, p control.Page) (wire.Parts, control.Fresh, error) {
	if err := w.Authorize(who, control.JobsRead, control.Thing{ID: id}); err != nil {
		return wire.Parts{}, control.Fresh{}, err
	}
	limit, err := p.Size()
	if err != nil {
		return wire.Parts{}, control.Fresh{}, err
	}
	if err := checkState(state, partStates); err != nil {
		return wire.Parts{}, control.Fresh{}, err
	}
	after := -1
	if p.After != "" {
		if after, err = strconv.Atoi(p.After); err != nil || after < 0 {
			return wire.Parts{}, control.Fresh{}, wire.Invalid("after", "after is the number of a part, not %.40q", p.After)
		}
	}
	view, _, fresh, err := w.ViewFor(ctx, who, control.JobsRead, r, onJob(id))
	if err != nil {
		return wire.Parts{}, fresh, err
	}
	job, err := w.jobFor(view, who, control.JobsRead, id)
	if err != nil {
		return wire.Parts{}, fresh, err
	}
	list := wire.Parts{Parts: []wire.Part{}}
	for part := range partsAfter(view, id, after) {
		if state != "" && part.State != state {
			continue
		}
		if len(list.Parts) == limit {
			list.Next = strconv.Itoa(list.Parts[limit-1].Part)
			break
		}
		w := part.Wire()
		w.Item = job.Item(part.N)
		list.Parts = append(list.Parts, w)
	}
	return list, fresh, nil
}

// namespaceOf is the namespace that a job is submitted to.
func namespaceOf(in wire.SubmitJob) string { return jobs.Spec{Namespace: in.Namespace}.InNamespace() }

// jobWire is a job as it is answered; full adds script and args.
func jobWire(view *fsm.State, j jobs.Job, full bool) wire.Job {
	w := j.Wire(full)
	w.ResultBytes = view.Jobs.SizeOf(j.ID).Results
	return w
}

// onJob is one job with its parts; whether there is one, too.
func onJob(id string) control.Part {
	return control.Part{Resource: fsm.Jobs, ChangedAt: func(v *fsm.State) uint64 {
		if j, ok := v.Jobs.Job(id); ok {
			return j.Index
		}
		return v.Changed(fsm.Jobs)
	}}
}

func partsAfter(view *fsm.State, job string, after int) iter.Seq[jobs.Part] {
	if after < 0 {
		return view.Jobs.Parts(job)
	}
	return view.Jobs.PartsAfter(job, after)
}

// jobFor returns a job of a view for a principal that has the right for its
// namespace. One that the principal may not even read is not there for it. Errors:
// not_found, forbidden, unauthorized.
func (w *Work) jobFor(view *fsm.State, who control.Principal, right control.Right, id string) (jobs.Job, error) {
	gone := wire.Refuse(wire.CodeNotFound, "no job %.130q", id)
	j, ok := view.Jobs.Job(id)
	if !ok {
		return j, gone
	}
	if err := w.AuthorizeRow(who, right, control.Thing{Namespace: j.InNamespace(), ID: id}, gone); err != nil {
		return jobs.Job{}, err
	}
	return j, nil
}
