package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) jobRoutes() {
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/jobs", Right: control.JobsWrite, Scope: rest.ScopeBody, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.submit})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/jobs", Right: control.JobsRead, Scope: rest.ScopeRows, Params: rest.With(rest.ListParams, "state", "name", "group", "namespace"), Handle: a.jobs})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/jobs/:id", Right: control.JobsRead, Scope: rest.ScopeRow, Params: rest.ReadParams, Handle: a.job})
	a.Handle(rest.Route{Method: http.MethodDelete, Path: "/jobs/:id", Right: control.JobsWrite, Scope: rest.ScopeRow, Params: []string{"reason", "forget"}, Handle: a.endJob})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/jobs/:id/parts", Right: control.JobsRead, Scope: rest.ScopeRow, Params: rest.With(rest.ListParams, "state"), Handle: a.parts})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/jobs/:id/results", Right: control.JobsRead, Scope: rest.ScopeRow, Params: rest.With(rest.ReadParams, "follow", "order", "state"), Handle: a.results})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/jobs/:id/logs", Right: control.JobsRead, Scope: rest.ScopeRow, Params: []string{"part", "attempt", "offset", "follow"}, Handle: a.logs})
}

var submitFields = strictjson.FieldsOf[wire.SubmitJob]()

func (a *API) submit(rq *rest.Request) error {
	var in wire.SubmitJob
	if err := rq.Decode(submitFields, &in); err != nil {
		return err
	}
	if err := wire.CheckZeros(rq.Body()); err != nil {
		return err
	}
	rq.About(in.ID, "")
	job, index, err := a.control.Submit(rq.Context(), rq.Principal(), in, rq.IdempotencyKey())
	if err != nil {
		return err
	}
	rq.About(job.ID, "")
	rq.WrittenAt(index)
	return rq.JSON(http.StatusAccepted, &job)
}

// endJob cancels a job; one that has ended is forgotten, which only ?forget asks
// for: a caller who cancels a job that was just done must not lose its results.
func (a *API) endJob(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	forget, err := rq.Params().Flag("forget")
	if err != nil {
		return err
	}
	var job wire.Job
	var index uint64
	switch {
	case !forget:
		job, index, err = a.control.CancelJob(rq.Context(), rq.Principal(), id, rq.Params().Get("reason"))
	case rq.Params().Has("reason"):
		err = wire.Invalid("reason", "a job is cancelled with a reason, and forgotten without")
	default:
		job, index, err = a.control.ForgetJob(rq.Context(), rq.Principal(), id)
	}
	if err != nil {
		return err
	}
	rq.WrittenAt(index)
	return rq.JSON(http.StatusOK, &job)
}

func (a *API) job(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	return rest.Read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Job, control.Fresh, error) {
		return a.control.Job(ctx, who, r, id)
	})
}

var jobFields = rest.Fields[wire.Job]{
	"id":        func(j *wire.Job) string { return j.ID },
	"name":      func(j *wire.Job) string { return j.Name },
	"state":     func(j *wire.Job) string { return j.State },
	"runtime":   func(j *wire.Job) string { return j.Runtime },
	"group":     func(j *wire.Job) string { return j.Group },
	"by":        func(j *wire.Job) string { return j.By },
	"namespace": func(j *wire.Job) string { return cmp.Or(j.Namespace, control.DefaultNamespace) },
}

func jobLabels(j *wire.Job) map[string]string { return j.Labels }

func (a *API) jobs(rq *rest.Request) error {
	p := rq.Params()
	r, err := p.Read()
	if err != nil {
		return err
	}
	page, filter, err := rest.ParsePage(p, jobFields, jobLabels)
	if err != nil {
		return err
	}
	selection := work.JobFilter{State: p.Get("state"), Name: p.Get("name"), Group: p.Get("group"), Namespace: p.Get("namespace")}
	return rq.Blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := filter.Collect(page, func(p control.Page) ([]wire.Job, string, error) {
			list, fresh, err := a.control.Jobs(ctx, rq.Principal(), r, selection, p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Jobs, list.Next, rq.FreshFrom(fresh, err)
		}, func(j *wire.Job) string { return j.ID })
		if err != nil {
			return err
		}
		return rq.JSON(http.StatusOK, wire.Jobs{Jobs: rows, Next: next})
	})
}

var partFields = rest.Fields[wire.Part]{
	"state":   func(p *wire.Part) string { return p.State },
	"attempt": func(p *wire.Part) string { return strconv.Itoa(p.Attempt) },
	"worker":  func(p *wire.Part) string { return p.Worker },
	"home":    func(p *wire.Part) string { return p.Home },
}

func (a *API) parts(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	page, filter, err := rest.ParsePage(rq.Params(), partFields, nil)
	if err != nil {
		return err
	}
	r, err := rq.Params().Read()
	if err != nil {
		return err
	}
	return rq.Blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := filter.Collect(page, func(p control.Page) ([]wire.Part, string, error) {
			list, fresh, err := a.control.Parts(ctx, rq.Principal(), r, id, rq.Params().Get("state"), p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Parts, list.Next, rq.FreshFrom(fresh, err)
		}, func(p *wire.Part) string { return strconv.Itoa(p.Part) })
		if err != nil {
			return err
		}
		return rq.JSON(http.StatusOK, wire.Parts{Parts: rows, Next: next})
	})
}
