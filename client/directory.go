package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// position is the place behind an event.
func position(e wire.Event) string { return fmt.Sprintf("%d.%d", e.Index, e.Seq) }

// Lookup finds a component by its full name, or the plain one in the own namespace. Errors: not_found.
func (n *Session) Lookup(ctx context.Context, name string) (out wire.Component, err error) {
	err = n.Coordinator(ctx, "lookup", map[string]string{"name": name}, &out)
	return out, err
}

// Directory selects components; empty fields select all.
type Directory struct {
	Namespace string
	Prefix    string // of the full name
	Labels    map[string]string
	Index     uint64 // the list is at least as new as it
}

// Components yields the components that are selected, by full name. The first error ends it.
func (n *Session) Components(ctx context.Context, sel Directory) iter.Seq2[wire.Component, error] {
	return func(yield func(wire.Component, error) bool) {
		after := ""
		for {
			params := map[string]any{"namespace": sel.Namespace, "prefix": sel.Prefix, "after": after, "index": sel.Index}
			if len(sel.Labels) > 0 {
				params["labels"] = sel.Labels
			}
			var page wire.Components
			if err := n.Coordinator(ctx, "components", params, &page); err != nil {
				yield(wire.Component{}, err)
				return
			}
			for _, c := range page.Components {
				if !yield(c, nil) {
					return
				}
			}
			if after = page.Next; after == "" {
				return
			}
		}
	}
}

// Submit hands a job in. Without an id one is minted here, so that asking again after an unknown outcome, with the id
// set to that of the error's, is the same job.
func (n *Session) Submit(ctx context.Context, in wire.SubmitJob) (out wire.Job, err error) {
	if in.ID == "" {
		in.ID = NewKey()
	}
	err = n.Coordinator(ctx, "jobs.submit", in, &out)
	if code := wire.CodeOf(err); code == wire.CodeUnknown || code == wire.CodeUnavailable {
		err = n.Coordinator(ctx, "jobs.submit", in, &out) // the same id is the same job
	}
	return out, err
}

// Job looks one job up.
func (n *Session) Job(ctx context.Context, id string) (out wire.Job, err error) {
	err = n.Coordinator(ctx, "jobs.get", map[string]any{"id": id}, &out)
	return out, err
}

// WaitJob waits until a job has ended, or ctx has; it goes on when the session moves. It asks now and then: COORDINATOR
// answers a session's requests in order, so that one that waits there would hold up the others.
func (n *Session) WaitJob(ctx context.Context, id string) (wire.Job, error) {
	pause := 5 * time.Millisecond
	for {
		out, err := n.Job(ctx, id)
		switch code := wire.CodeOf(err); {
		case err == nil && final(out.State):
			return out, nil
		case ctx.Err() != nil:
			return out, ctx.Err()
		case n.ctx.Err() != nil:
			return out, ErrLost
		case err != nil && code != wire.CodeUnknown && code != wire.CodeUnavailable && code != wire.CodeBusy:
			return out, err
		}
		sleep(ctx, pause)
		pause = min(pause*3/2, 250*time.Millisecond)
	}
}

func final(state string) bool { return state == "done" || state == "failed" || state == "cancelled" }

// CancelJob ends a job.
func (n *Session) CancelJob(ctx context.Context, id, reason string) (out wire.Job, err error) {
	err = n.Coordinator(ctx, "jobs.cancel", map[string]string{"id": id, "reason": reason}, &out)
	return out, err
}

// ForgetJob removes a job that has ended, with its results and logs.
func (n *Session) ForgetJob(ctx context.Context, id string) (out wire.Job, err error) {
	err = n.Coordinator(ctx, "jobs.forget", map[string]string{"id": id}, &out)
	return out, err
}

// JobResults yields the results of the parts that have ended, by number. The first error ends it.
func (n *Session) JobResults(ctx context.Context, id string) iter.Seq2[wire.PartResult, error] {
	return func(yield func(wire.PartResult, error) bool) {
		params := map[string]any{"id": id}
		for {
			var page struct {
				Results []wire.PartResult `json:"results"`
				Next    *int              `json:"next"`
			}
			if err := n.Coordinator(ctx, "jobs.results", params, &page); err != nil {
				yield(wire.PartResult{}, err)
				return
			}
			for _, r := range page.Results {
				if !yield(r, nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			params["after"] = *page.Next
		}
	}
}
