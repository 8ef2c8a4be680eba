package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) componentRoutes() {
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/components", Right: control.ComponentsWrite, Scope: rest.ScopeBody, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.signIn})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/components", Right: control.ComponentsRead, Scope: rest.ScopeRows, Params: rest.With(rest.ListParams, "namespace", "prefix", "match", "label"), Handle: a.components})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/components/:full", Right: control.ComponentsRead, Scope: rest.ScopePath, Params: rest.ReadParams, Handle: a.component})
	a.Handle(rest.Route{Method: http.MethodDelete, Path: "/components/:full", Right: control.ComponentsWrite, RightWithoutSession: control.Admin, Scope: rest.ScopePath, Params: rest.With(rest.NoParams, "reason"), Handle: a.endComponent})
	a.Handle(rest.Route{Method: http.MethodPut, Path: "/components/:full/heartbeat", Right: control.ComponentsWrite, Scope: rest.ScopePath, Params: rest.NoParams, Routine: true, Handle: a.heartbeat})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/namespaces", Right: control.ComponentsRead, Scope: rest.ScopeRows, Params: rest.ReadParams, Handle: a.namespaces})
}

var signInFields = strictjson.FieldsOf[wire.SignIn]()

func (a *API) signIn(rq *rest.Request) error {
	var in wire.SignIn
	if err := rq.ReadBody(); err != nil {
		return err
	}
	if !decodeSignInFast(rq.Body(), &in) {
		in = wire.SignIn{}
		if err := rest.DecodeStrict(rq.Body(), signInFields, &in); err != nil {
			return err
		}
		if in.Lease == 0 && rest.HasField(rq.Body(), "lease") { // the default is for requests without the field
			return wire.Invalid("lease", "a lease is %v to %v, not 0", directory.ShortestLease, directory.LongestLease)
		}
	}
	rq.About(fullName(in.Namespace, in.Name), "")
	out, err := a.control.SignIn(rq.Context(), rq.Principal(), in, rq.IdempotencyKey())
	if err != nil {
		return err
	}
	rq.About(out.FullName, out.Session)
	rq.WrittenAt(out.Index)
	writeSignedIn(rq.Buffer(), &out)
	return rq.Send(http.StatusCreated)
}

// fullName is that of a component whose namespace may be left to the coordinator.
func fullName(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "." + name
}

func (a *API) heartbeat(rq *rest.Request) error {
	full, err := rq.PathParam("full")
	if err != nil {
		return err
	}
	beat, err := a.control.Heartbeat(rq.Context(), rq.Principal(), full)
	if err != nil {
		return err
	}
	writeBeat(rq.Buffer(), &beat)
	return rq.Send(http.StatusOK)
}

// endComponent is a sign-out when the session's secret is given, else an
// operator's removal.
func (a *API) endComponent(rq *rest.Request) error {
	full, err := rq.PathParam("full")
	if err != nil {
		return err
	}
	var index uint64
	if rq.HasHeader("X-Session") {
		if rq.Params().Has("reason") {
			return wire.Invalid("reason", "a sign-out has no reason: leave X-Session out to remove a component by force")
		}
		index, err = a.control.SignOut(rq.Context(), rq.Principal(), full)
	} else {
		index, err = a.control.RemoveComponent(rq.Context(), rq.Principal(), full, rq.Params().Get("reason"))
	}
	if err != nil {
		return err
	}
	rq.WrittenAt(index)
	return rq.JSON(http.StatusOK, endedSession{FullName: full, Index: index})
}

// endedSession is the answer to a sign-out and to a removal.
type endedSession struct {
	FullName string `json:"full_name"`
	Index    uint64 `json:"index"`
}

func (a *API) component(rq *rest.Request) error {
	full, err := rq.PathParam("full")
	if err != nil {
		return err
	}
	r, err := rq.Params().Read()
	if err != nil {
		return err
	}
	return rq.Blocking(r.Wait, func(ctx context.Context) error {
		c, fresh, err := a.control.Component(ctx, rq.Principal(), r, full)
		if rq.FreshFrom(fresh, err) != nil {
			return err
		}
		writeComponent(rq.Buffer(), &c)
		return rq.Send(http.StatusOK)
	})
}

var componentFields = rest.Fields[wire.Component]{
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

func (a *API) components(rq *rest.Request) error {
	p := rq.Params()
	r, err := p.Read()
	if err != nil {
		return err
	}
	page, filter, err := rest.ParsePage(p, componentFields, componentLabels)
	if err != nil {
		return err
	}
	selection := directory.ComponentFilter{Namespace: p.Get("namespace"), Prefix: p.Get("prefix"), Match: p.Get("match")}
	for _, label := range p.Values("label") {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return wire.Invalid("label", "label is written key=value, not %q", rest.Clip(label))
		}
		if selection.Labels == nil {
			selection.Labels = map[string]string{}
		}
		selection.Labels[key] = value
	}
	return rq.Blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := filter.Collect(page, func(p control.Page) ([]wire.Component, string, error) {
			list, fresh, err := a.control.Components(ctx, rq.Principal(), r, selection, p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Components, list.Next, rq.FreshFrom(fresh, err)
		}, func(c *wire.Component) string { return c.FullName })
		if err != nil {
			return err
		}
		writeComponents(rq.Buffer(), rows, next)
		return rq.Send(http.StatusOK)
	})
}

func (a *API) namespaces(rq *rest.Request) error {
	return rest.Read(rq, a.control.Namespaces)
}
