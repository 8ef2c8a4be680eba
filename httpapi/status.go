package httpapi

import "net/http"

func (a *API) statusRoutes() {
	a.add(route{method: http.MethodGet, path: "/status", params: none, handle: a.status})
	a.add(route{method: http.MethodGet, path: "/digest", params: readParams, handle: a.digest})
	a.add(route{method: http.MethodGet, path: "/workers", params: readParams, handle: a.workers})
}

func (a *API) status(rq *request) error {
	s, err := a.control.Status(rq.context())
	if err != nil {
		return err
	}
	return rq.json(http.StatusOK, s)
}

func (a *API) digest(rq *request) error { return read(rq, a.control.Digest) }

func (a *API) workers(rq *request) error { return read(rq, a.control.Workers) }
