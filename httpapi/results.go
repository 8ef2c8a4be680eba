package httpapi

import (
	"context"

	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// orders are the values of ?order=; done is the order in which parts end.
var orders = map[string]string{"": work.ByPart, "part": work.ByPart, "done": work.ByEnd, "ended": work.ByEnd}

// results writes a line of JSON for every part that has ended; with follow it
// goes on until the job has ended. Empty lines keep a silent stream alive. A
// stream that cannot go on ends with a problem as its last line.
func (a *API) results(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	follow, err := rq.Params().Flag("follow")
	if err != nil {
		return err
	}
	order, ok := orders[rq.Params().Get("order")]
	if !ok {
		return wire.Invalid("order", "order is part or done, not %q", rest.Clip(rq.Params().Get("order")))
	}
	r, err := rq.Params().Read()
	if err != nil {
		return err
	}
	query := work.ResultQuery{Order: order, Follow: follow, State: rq.Params().Get("state")}
	return rq.LongRunning(0, func(ctx context.Context) error {
		seq, fresh, err := a.control.Results(ctx, rq.Principal(), r, id, query)
		if rq.FreshFrom(fresh, err) != nil {
			return err
		}
		s, err := rq.StartLines()
		if err != nil {
			return nil // the reader is gone
		}
		s.Fail(rest.Copy(ctx, s, seq, func(p wire.PartResult) error { return s.Line(&p) }))
		s.AbortIfClosing()
		return nil
	})
}
