package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) componentRoutes() {
	a.add(route{method: http.MethodPost, path: "/components", params: none, body: MaxBody, handle: a.signIn})
	a.add(route{method: http.MethodGet, path: "/components", params: with(listParams, "namespace", "prefix", "match", "label"), handle: a.components})
	a.add(route{method: http.MethodGet, path: "/components/:full", params: readParams, handle: a.component})
	a.add(route{method: http.MethodDelete, path: "/components/:full", params: with(none, "reason"), handle: a.endComponent})
	a.add(route{method: http.MethodPut, path: "/components/:full/heartbeat", params: none, handle: a.heartbeat})
	a.add(route{method: http.MethodGet, path: "/namespaces", params: readParams, handle: a.namespaces})
}

var signInShape = strictjson.FieldsOf[wire.SignIn]()

func (a *API) signIn(rq *request) error {
	var in wire.SignIn
	if err := rq.read(); err != nil {
		return err
	}
	if !quickSignIn(rq.body, &in) {
		in = wire.SignIn{}
		if err := decodeStrict(rq.body, signInShape, &in); err != nil {
			return err
		}
		if in.Lease == 0 && tells(rq.body, "lease") { // the default is for who says nothing
			return wire.Invalid("lease", "a lease is %v to %v, not 0", control.ShortestLease, control.LongestLease)
		}
	}
	out, err := a.control.SignIn(rq.context(), rq.who, in, rq.key())
	if err != nil {
		return err
	}
	rq.wrote(out.Index)
	putSignedIn(&rq.out, &out)
	return rq.send(http.StatusCreated)
}

func (a *API) heartbeat(rq *request) error {
	full, err := rq.arg("full")
	if err != nil {
		return err
	}
	beat, err := a.control.Heartbeat(rq.context(), rq.who, full)
	if err != nil {
		return err
	}
	putBeat(&rq.out, &beat)
	return rq.send(http.StatusOK)
}

// endComponent is a sign-out when the session's secret comes along, else an
// operator's removal.
func (a *API) endComponent(rq *request) error {
	full, err := rq.arg("full")
	if err != nil {
		return err
	}
	var index uint64
	if _, own := rq.r.Header["X-Session"]; own {
		if rq.params.has("reason") {
			return wire.Invalid("reason", "a sign-out has no reason: leave X-Session out to remove a component by force")
		}
		index, err = a.control.SignOut(rq.context(), rq.who, full)
	} else {
		index, err = a.control.RemoveComponent(rq.context(), rq.who, full, rq.params.get("reason"))
	}
	if err != nil {
		return err
	}
	rq.wrote(index)
	return rq.json(http.StatusOK, ended{FullName: full, Index: index})
}

// ended answers the end of a session.
type ended struct {
	FullName string `json:"full_name"`
	Index    uint64 `json:"index"`
}

func (a *API) component(rq *request) error {
	full, err := rq.arg("full")
	if err != nil {
		return err
	}
	r, err := rq.params.read()
	if err != nil {
		return err
	}
	return rq.blocking(r.Wait, func(ctx context.Context) error {
		c, fresh, err := a.control.Component(ctx, rq.who, r, full)
		if rq.readFrom(fresh, err) != nil {
			return err
		}
		putComponent(&rq.out, &c)
		return rq.send(http.StatusOK)
	})
}

var componentFields = selectors[wire.Component]{
	"full_name":   func(c *wire.Component) string { return c.FullName },
	"name":        func(c *wire.Component) string { return c.Name },
	"namespace":   func(c *wire.Component) string { return c.Namespace },
	"home":        func(c *wire.Component) string { return c.Home },
	"session":     func(c *wire.Component) string { return c.Session },
	"kind":        func(c *wire.Component) string { return c.Kind },
	"place.host":  func(c *wire.Component) string { return c.Place.Host },
	"place.group": func(c *wire.Component) string { return c.Place.Group },
}

func componentLabels(c *wire.Component) map[string]string { return c.Labels }

func (a *API) components(rq *request) error {
	p := rq.params
	r, err := p.read()
	if err != nil {
		return err
	}
	page, err := p.page()
	if err != nil {
		return err
	}
	keep, err := parseFilter(p.get("filter"), componentFields, componentLabels)
	if err != nil {
		return err
	}
	choose := control.ComponentFilter{Namespace: p.get("namespace"), Prefix: p.get("prefix"), Match: p.get("match")}
	for _, label := range p.all("label") {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return wire.Invalid("label", "label is written key=value, not %q", short(label))
		}
		if choose.Labels == nil {
			choose.Labels = map[string]string{}
		}
		choose.Labels[key] = value
	}
	return rq.blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := keep.chosen(page, func(p control.Page) ([]wire.Component, string, error) {
			list, fresh, err := a.control.Components(ctx, rq.who, r, choose, p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Components, list.Next, rq.readFrom(fresh, err)
		}, func(c *wire.Component) string { return c.FullName })
		if err != nil {
			return err
		}
		putComponents(rq, rows, next)
		return rq.send(http.StatusOK)
	})
}

func putComponents(rq *request, rows []wire.Component, next string) {
	rq.out.WriteString(`{"components":[`)
	for i := range rows {
		if i > 0 {
			rq.out.WriteByte(',')
		}
		putComponent(&rq.out, &rows[i])
	}
	rq.out.WriteByte(']')
	if next != "" {
		rq.out.Write(putString(nil, `,"next":`, next))
	}
	rq.out.WriteString("}\n")
}

func (a *API) namespaces(rq *request) error {
	return read(rq, a.control.Namespaces)
}

// read answers a read that takes no more than how fresh it must be.
func read[T any](rq *request, ask func(context.Context, control.Principal, control.Read) (T, control.Fresh, error)) error {
	r, err := rq.params.read()
	if err != nil {
		return err
	}
	return rq.blocking(r.Wait, func(ctx context.Context) error {
		v, fresh, err := ask(ctx, rq.who, r)
		if rq.readFrom(fresh, err) != nil {
			return err
		}
		return rq.json(http.StatusOK, v)
	})
}

// none are the query parameters of a call that takes none.
var none = []string{}

func with(params []string, more ...string) []string {
	return append(append([]string{}, params...), more...)
}
