package httpapi

import (
	"context"
	"net/http"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) statusRoutes() {
	a.add(route{method: http.MethodGet, path: "/status", params: none, handle: a.status})
	a.add(route{method: http.MethodGet, path: "/digest", params: readParams, handle: a.digest})
	a.add(route{method: http.MethodGet, path: "/workers", params: listParams, handle: a.workers})
}

func (a *API) status(rq *request) error {
	s, err := a.control.Status(rq.context(), rq.who)
	if err != nil {
		return err
	}
	return rq.json(http.StatusOK, s)
}

func (a *API) digest(rq *request) error { return read(rq, a.control.Digest) }

var workerFields = selectors[wire.Worker]{
	"full_name":   func(w *wire.Worker) string { return w.FullName },
	"home":        func(w *wire.Worker) string { return w.Home },
	"place.host":  func(w *wire.Worker) string { return w.Place.Host },
	"place.group": func(w *wire.Worker) string { return w.Place.Group },
}

func (a *API) workers(rq *request) error {
	page, keep, err := cutting(rq, workerFields, func(w *wire.Worker) map[string]string { return w.Labels })
	if err != nil {
		return err
	}
	return read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Workers, control.Fresh, error) {
		list, fresh, err := a.control.Workers(ctx, who, r)
		list.Workers, list.Next = keep.cut(list.Workers, page, func(w *wire.Worker) string { return w.FullName })
		return list, fresh, err
	})
}

// cutting reads what part of a whole list is wanted.
func cutting[T any](rq *request, fields selectors[T], labels labelsOf[T]) (control.Page, filter[T], error) {
	page, err := rq.params.page()
	if err != nil {
		return page, nil, err
	}
	keep, err := parseFilter(rq.params.get("filter"), fields, labels)
	return page, keep, err
}
