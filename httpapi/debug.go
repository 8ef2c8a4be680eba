package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) debugRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/debug/bundle", Right: control.Admin, Scope: rest.ScopeNone, Params: []string{"cpu"}, SideEffects: true, Handle: a.debugBundle})
}

// debugBundle writes what this coordinator knows of itself as one file. What cannot be
// written to its end is broken off.
func (a *API) debugBundle(rq *rest.Request) error {
	cpu, err := rq.Params().Duration("cpu", wire.LongestCPUProfile, 0)
	if err != nil {
		return err
	}
	return rq.LongRunning(0, func(ctx context.Context) error {
		var s *rest.Stream
		var gone error
		err := a.control.Debug(ctx, rq.Principal(), cpu, func() (io.Writer, error) {
			s, gone = rq.StartFile()
			return s, gone
		})
		switch {
		case s == nil:
			return err
		case gone != nil:
			return nil // the reader is
		case err == nil:
			err = s.Flush()
		}
		s.AbortIfClosing()
		s.Fail(err)
		return nil
	})
}
