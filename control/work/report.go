package work

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// maxReport bounds the parts of one report of a worker.
const maxReport = 4096

// commandRoom is how many bytes of lines go into one command; the rest of
// wire.MaxCommand is left to the envelope and to escapes.
const commandRoom = wire.MaxCommand * 3 / 4

func checkReport(n int) error {
	if n == 0 || n > maxReport {
		return wire.Invalid("parts", "a report has 1 to %d parts, not %d", maxReport, n)
	}
	return nil
}

// StartParts records that a worker has begun to run parts. It returns what became of
// each, and the index. Errors: invalid, unavailable, unknown (repeat it).
func (w *Work) StartParts(ctx context.Context, who control.Principal, s registry.Session, in wire.PartRefs) (wire.PartVerdicts, uint64, error) {
	if err := w.Authorize(who, control.ComponentsWrite, control.ComponentThing(s.FullName)); err != nil {
		return wire.PartVerdicts{}, 0, err
	}
	if err := checkReport(len(in.Parts)); err != nil {
		return wire.PartVerdicts{}, 0, err
	}
	lines := make([]jobs.Ref, len(in.Parts))
	for i, p := range in.Parts {
		lines[i] = jobs.RefOf(p, s.ID)
	}
	return report(ctx, w, reporter(who, s), jobs.KindStart, lines, func(part []jobs.Ref) any { return jobs.Start{Parts: part} })
}

// FinishParts records what parts came to. Results and errors as of StartParts.
func (w *Work) FinishParts(ctx context.Context, who control.Principal, s registry.Session, in wire.FinishParts) (wire.PartVerdicts, uint64, error) {
	if err := w.Authorize(who, control.ComponentsWrite, control.ComponentThing(s.FullName)); err != nil {
		return wire.PartVerdicts{}, 0, err
	}
	if err := checkReport(len(in.Parts)); err != nil {
		return wire.PartVerdicts{}, 0, err
	}
	lines := make([]jobs.PartDone, len(in.Parts))
	for i, p := range in.Parts {
		lines[i] = jobs.PartDone{Ref: jobs.RefOf(p.PartRef, s.ID), OK: p.OK, Result: p.Result, Error: p.Error, Millis: p.Millis}
		if why := noResult(p.Result); why != "" {
			// It must not be refused with those that it is reported with.
			lines[i].OK, lines[i].Result, lines[i].Error = false, nil, why
		}
	}
	return report(ctx, w, reporter(who, s), jobs.KindFinish, lines, func(part []jobs.PartDone) any {
		return jobs.Finish{Parts: part, ResultQuota: w.Bounds().ResultBytes}
	})
}

// noResult says why a result cannot be taken, "" if it can.
func noResult(result json.RawMessage) string {
	if n := len(result); n > wire.MaxResult {
		return fmt.Sprintf("the result is %d bytes; the limit is %d: store it where others can read it, and return its place", n, wire.MaxResult)
	}
	if d := strictjson.Depth(result); d > wire.MaxDepth {
		return fmt.Sprintf("the result is nested %d deep; the limit is %d", d, wire.MaxDepth)
	}
	return ""
}

// reporter is a worker as the author of its reports.
func reporter(who control.Principal, s registry.Session) propose.Author {
	return who.ForSession(s).Author(control.ComponentsWrite, s.Namespace)
}

// report carries the lines through the log in as few commands as hold them.
// When one fails, those before it stay: a repeat of the whole is harmless.
func report[L any](ctx context.Context, w *Work, by propose.Author, kind string, lines []L, command func([]L) any) (wire.PartVerdicts, uint64, error) {
	out := wire.PartVerdicts{Parts: make([]wire.PartVerdict, 0, len(lines))}
	var index uint64
	for len(lines) > 0 {
		n, err := fitting(lines)
		if err != nil {
			return wire.PartVerdicts{}, index, err
		}
		verdicts, at, err := propose.Do[[]jobs.Verdict](ctx, w.Proposer(), kind, by, command(lines[:n]))
		if err != nil {
			return wire.PartVerdicts{}, at, err
		}
		out.Parts, index, lines = append(out.Parts, verdicts...), at, lines[n:]
	}
	return out, index, nil
}

// fitting returns how many of the lines go into one command, at least one.
func fitting[L any](lines []L) (int, error) {
	size := 0
	for i, l := range lines {
		b, err := json.Marshal(l)
		if err != nil {
			return 0, wire.Invalid("parts", "part %d of the report: %v", i, err)
		}
		if size += len(b) + 1; size > commandRoom && i > 0 {
			return i, nil
		}
	}
	return len(lines), nil
}

// SyncParts compares what a worker holds with what it should. It answers from a
// state that is as new as the leader's: a coordinator that is behind must not make a
// worker drop what it runs. Errors: invalid, unavailable.
func (w *Work) SyncParts(ctx context.Context, who control.Principal, s registry.Session, in wire.SyncParts) (wire.SyncedParts, error) {
	if err := w.Authorize(who, control.ComponentsWrite, control.ComponentThing(s.FullName)); err != nil {
		return wire.SyncedParts{}, err
	}
	if len(in.Holding) > maxReport {
		return wire.SyncedParts{}, wire.Invalid("holding", "a worker holds at most %d parts, not %d", maxReport, len(in.Holding))
	}
	view, _, err := w.View(ctx, control.Read{})
	if err != nil {
		return wire.SyncedParts{}, err
	}
	todo := jobs.Sync(view.Jobs, s.ID, in.Holding)
	if s.Home == w.Self().ID {
		w.home.RecordSync(s.ID, todo)
	}
	return todo, nil
}

// AppendLog appends the output of a part that the worker s runs to its log. Errors:
// not_found (job or part), conflict (it is not the worker's, or there is a gap),
// invalid, busy, unavailable.
func (w *Work) AppendLog(ctx context.Context, who control.Principal, s registry.Session, in wire.AppendLog) (home.Appended, error) {
	if err := w.Authorize(who, control.ComponentsWrite, control.ComponentThing(s.FullName)); err != nil {
		return home.Appended{}, err
	}
	part, err := control.Certain(ctx, w.Core, func(view *fsm.State) (jobs.Part, error) {
		part, ok := view.Jobs.Part(in.Job, in.Part)
		switch {
		case !ok:
			return part, wire.Refuse(wire.CodeNotFound, "there is no part %d of job %.130q", in.Part, in.Job)
		case part.Session != s.ID || part.Attempt != in.Attempt:
			return part, wire.Refuse(wire.CodeConflict, "try %d of part %d of job %s is not %s's", in.Attempt, in.Part, in.Job, s.FullName)
		}
		return part, nil
	})
	if err != nil {
		return home.Appended{}, err
	}
	// The worker may have moved; its log stays where the part says it is.
	return w.home.AppendLog(ctx, part.Home, in)
}
