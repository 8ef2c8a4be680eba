package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) jobRoutes() {
	a.add(route{method: http.MethodPost, path: "/jobs", params: none, body: MaxBody, handle: a.submit})
	a.add(route{method: http.MethodGet, path: "/jobs", params: with(listParams, "state", "name", "group"), handle: a.jobs})
	a.add(route{method: http.MethodGet, path: "/jobs/:id", params: readParams, handle: a.job})
	a.add(route{method: http.MethodDelete, path: "/jobs/:id", params: []string{"reason", "forget"}, handle: a.endJob})
	a.add(route{method: http.MethodGet, path: "/jobs/:id/parts", params: with(listParams, "state"), handle: a.parts})
	a.add(route{method: http.MethodGet, path: "/jobs/:id/results", params: with(readParams, "follow", "order", "state"), handle: a.results})
	a.add(route{method: http.MethodGet, path: "/jobs/:id/logs", params: []string{"part", "attempt", "offset", "follow"}, handle: a.logs})
}

var submitShape = strictjson.FieldsOf[wire.SubmitJob]()

func (a *API) submit(rq *request) error {
	var in wire.SubmitJob
	if err := rq.decode(submitShape, &in); err != nil {
		return err
	}
	if err := wire.CheckZeros(rq.body); err != nil {
		return err
	}
	job, index, err := a.control.Submit(rq.context(), rq.who, in, rq.key())
	if err != nil {
		return err
	}
	rq.wrote(index)
	return rq.json(http.StatusAccepted, &job)
}

// endJob cancels a job; one that has ended is forgotten, which only ?forget asks
// for: who cancels a job that was just done must not lose its results.
func (a *API) endJob(rq *request) error {
	id, err := rq.arg("id")
	if err != nil {
		return err
	}
	forget, err := rq.params.flag("forget")
	if err != nil {
		return err
	}
	var job wire.Job
	var index uint64
	switch {
	case !forget:
		job, index, err = a.control.CancelJob(rq.context(), rq.who, id, rq.params.get("reason"))
	case rq.params.has("reason"):
		err = wire.Invalid("reason", "a job is cancelled with a reason, and forgotten without")
	default:
		job, index, err = a.control.ForgetJob(rq.context(), rq.who, id)
	}
	if err != nil {
		return err
	}
	rq.wrote(index)
	return rq.json(http.StatusOK, &job)
}

func (a *API) job(rq *request) error {
	id, err := rq.arg("id")
	if err != nil {
		return err
	}
	return read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Job, control.Fresh, error) {
		return a.control.Job(ctx, who, r, id)
	})
}

var jobFields = selectors[wire.Job]{
	"id":      func(j *wire.Job) string { return j.ID },
	"name":    func(j *wire.Job) string { return j.Name },
	"state":   func(j *wire.Job) string { return j.State },
	"runtime": func(j *wire.Job) string { return j.Runtime },
	"group":   func(j *wire.Job) string { return j.Group },
	"by":      func(j *wire.Job) string { return j.By },
}

func jobLabels(j *wire.Job) map[string]string { return j.Labels }

func (a *API) jobs(rq *request) error {
	p := rq.params
	r, err := p.read()
	if err != nil {
		return err
	}
	page, err := p.page()
	if err != nil {
		return err
	}
	keep, err := parseFilter(p.get("filter"), jobFields, jobLabels)
	if err != nil {
		return err
	}
	choose := control.JobFilter{State: p.get("state"), Name: p.get("name"), Group: p.get("group")}
	return rq.blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := keep.chosen(page, func(p control.Page) ([]wire.Job, string, error) {
			list, fresh, err := a.control.Jobs(ctx, rq.who, r, choose, p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Jobs, list.Next, rq.readFrom(fresh, err)
		}, func(j *wire.Job) string { return j.ID })
		if err != nil {
			return err
		}
		return rq.json(http.StatusOK, wire.Jobs{Jobs: rows, Next: next})
	})
}

var partFields = selectors[wire.Part]{
	"state":   func(p *wire.Part) string { return p.State },
	"attempt": func(p *wire.Part) string { return strconv.Itoa(p.Attempt) },
	"worker":  func(p *wire.Part) string { return p.Worker },
	"home":    func(p *wire.Part) string { return p.Home },
}

func (a *API) parts(rq *request) error {
	id, err := rq.arg("id")
	if err != nil {
		return err
	}
	page, keep, err := cutting(rq, partFields, nil)
	if err != nil {
		return err
	}
	r, err := rq.params.read()
	if err != nil {
		return err
	}
	return rq.blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := keep.chosen(page, func(p control.Page) ([]wire.Part, string, error) {
			list, fresh, err := a.control.Parts(ctx, rq.who, r, id, rq.params.get("state"), p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Parts, list.Next, rq.readFrom(fresh, err)
		}, func(p *wire.Part) string { return strconv.Itoa(p.Part) })
		if err != nil {
			return err
		}
		return rq.json(http.StatusOK, wire.Parts{Parts: rows, Next: next})
	})
}
