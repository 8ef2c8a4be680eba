package httpapi

import (
	"context"
	"net/http"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

func (a *API) snapshotRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/snapshot", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.NoParams, Handle: a.snapshot})
	a.Handle(rest.Route{Method: http.MethodPut, Path: "/snapshot", Right: control.Admin, Scope: rest.ScopeNone, Params: []string{"cluster", "foreign"}, MaxBody: snapshots.MaxFile, Handle: a.restore})
}

// snapshot writes the whole state as one file. What cannot be written to its end is
// broken off: nobody may take a piece for the whole.
func (a *API) snapshot(rq *rest.Request) error {
	return rq.LongRunning(0, func(ctx context.Context) error {
		write, fresh, err := a.control.Snapshot(ctx, rq.Principal())
		if rq.FreshFrom(fresh, err) != nil {
			return err
		}
		s, err := rq.StartFile()
		if err != nil {
			return nil // the reader is gone
		}
		err = write(ctx, s)
		if err == nil {
			err = s.Flush()
		}
		s.AbortIfClosing()
		s.Fail(err)
		return nil
	})
}

// restore puts the state of a file in place of the cluster's. The file is not read unless the
// caller may do that.
func (a *API) restore(rq *rest.Request) error {
	to := snapshots.Target{Cluster: rq.Params().Get("cluster"), Key: rq.IdempotencyKey()}
	var err error
	if to.Foreign, err = rq.Params().Flag("foreign"); err != nil {
		return err
	}
	return rq.LongRunning(0, func(ctx context.Context) error {
		done, err := a.control.Restore(ctx, rq.Principal(), to, rq.File)
		if err != nil {
			return err
		}
		rq.WrittenAt(done.Index)
		return rq.JSON(http.StatusOK, &done)
	})
}
