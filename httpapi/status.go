package httpapi

import (
	"context"
	"net/http"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) statusRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/status", Right: control.ClusterRead, Scope: rest.ScopeNone, Params: rest.NoParams, Handle: a.status})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/digest", Right: control.ClusterRead, Scope: rest.ScopeNone, Params: rest.ReadParams, Handle: a.digest})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/workers", Right: control.ComponentsRead, Scope: rest.ScopeRows, Params: rest.ListParams, Handle: a.workers})
}

func (a *API) status(rq *rest.Request) error {
	s, err := a.control.Status(rq.Context(), rq.Principal())
	if err != nil {
		return err
	}
	if a.control.Filtered(rq.Principal(), control.ComponentsRead) || a.control.Filtered(rq.Principal(), control.JobsRead) {
		rq.Filtered() // its counts are of what the caller sees
	}
	return rq.JSON(http.StatusOK, s)
}

func (a *API) digest(rq *rest.Request) error { return rest.Read(rq, a.control.Digest) }

var workerFields = rest.Fields[wire.Worker]{
	"full_name":   func(w *wire.Worker) string { return w.FullName },
	"home":        func(w *wire.Worker) string { return w.Home },
	"place.host":  func(w *wire.Worker) string { return w.Place.Host },
	"place.group": func(w *wire.Worker) string { return w.Place.Group },
}

func (a *API) workers(rq *rest.Request) error {
	page, filter, err := rest.ParsePage(rq.Params(), workerFields, func(w *wire.Worker) map[string]string { return w.Labels })
	if err != nil {
		return err
	}
	return rest.Read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Workers, control.Fresh, error) {
		list, fresh, err := a.control.Workers(ctx, who, r)
		list.Workers, list.Next = filter.Page(list.Workers, page, func(w *wire.Worker) string { return w.FullName })
		return list, fresh, err
	})
}
