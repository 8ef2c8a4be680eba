package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) memberRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/members", Right: control.ClusterRead, Scope: rest.ScopeNone, Params: rest.ListParams, Handle: a.members})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/members", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: casParams, MaxBody: MaxBody, Handle: a.addMember})
	a.Handle(rest.Route{Method: http.MethodDelete, Path: "/members/:id", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: forceParams, Handle: a.changeMember(a.control.RemoveMember)})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/members/:id/promote", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: casParams, Handle: a.changeMember(a.control.Promote)})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/members/:id/demote", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: forceParams, Handle: a.changeMember(a.control.Demote)})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/autopilot", Right: control.ClusterRead, Scope: rest.ScopeNone, Params: rest.ReadParams, Handle: a.autopilot})
	a.Handle(rest.Route{Method: http.MethodPut, Path: "/autopilot", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.setAutopilot})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/leader", Right: control.AnyRight, Scope: rest.ScopeNone, Params: rest.NoParams, Handle: a.leader})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/leader/transfer", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.transfer})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/level", Right: control.ClusterRead, Scope: rest.ScopeNone, Params: rest.ReadParams, Handle: a.level})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/level", Right: control.ClusterWrite, Scope: rest.ScopeNone, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.raiseLevel})
}

var memberFields = rest.Fields[wire.Member]{
	"id":        func(m *wire.Member) string { return m.ID },
	"server_id": func(m *wire.Member) string { return m.ServerID },
	"namespace": func(m *wire.Member) string { return m.Namespace },
	"suffrage":  func(m *wire.Member) string { return m.Suffrage },
	"state":     func(m *wire.Member) string { return m.State },
	"alive":     func(m *wire.Member) string { return strconv.FormatBool(m.Alive) },
	"healthy":   func(m *wire.Member) string { return strconv.FormatBool(m.Healthy) },
	"version":   func(m *wire.Member) string { return m.Version },
}

func (a *API) members(rq *rest.Request) error {
	page, filter, err := rest.ParsePage(rq.Params(), memberFields, nil)
	if err != nil {
		return err
	}
	return rest.Read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Members, control.Fresh, error) {
		list, fresh, err := a.control.Members(ctx, who, r)
		list.Members, list.Next = filter.Page(list.Members, page, func(m *wire.Member) string { return m.ServerID })
		return list, fresh, err
	})
}

var addMemberFields = strictjson.FieldsOf[wire.AddMember]()

func (a *API) addMember(rq *rest.Request) error {
	var in wire.AddMember
	if err := rq.Decode(addMemberFields, &in); err != nil {
		return err
	}
	rq.About(in.Address, "")
	change, err := changeParams(rq, "")
	if err != nil {
		return err
	}
	return withinChangeTimeout(rq, func(ctx context.Context) error {
		m, index, err := a.control.AddMember(ctx, rq.Principal(), in, change)
		if err != nil {
			return err
		}
		rq.WrittenAt(index)
		rq.About(m.ID, "")
		return rq.JSON(http.StatusCreated, m)
	})
}

// Query parameters of changes of the membership: the configuration that is changed, and
// whether to take a vote away though too few are left that can be reached.
var (
	casParams   = []string{"cas"}
	forceParams = rest.With(casParams, "force")
)

// changeParams reads the conditions of a change of the member id. Errors: invalid.
func changeParams(rq *rest.Request, id string) (c control.MemberChange, err error) {
	p := rq.Params()
	if c.ConfigIndex, err = p.Index("cas"); err != nil {
		return c, err
	}
	if p.Has("force") {
		if c.Force = p.Get("force") == id; !c.Force {
			return c, wire.Invalid("force", "to change the member %s by force its id is given again: force=%s, not %.80q", id, id, p.Get("force"))
		}
	}
	return c, nil
}

// memberChange changes the member id.
type memberChange = func(ctx context.Context, who control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error)

func (a *API) changeMember(do memberChange) func(*rest.Request) error {
	return func(rq *rest.Request) error {
		id, err := rq.PathParam("id")
		if err != nil {
			return err
		}
		change, err := changeParams(rq, id)
		if err != nil {
			return err
		}
		return withinChangeTimeout(rq, func(ctx context.Context) error {
			done, err := do(ctx, rq.Principal(), id, change)
			if err != nil {
				return err
			}
			rq.WrittenAt(done.ConfigIndex)
			return rq.JSON(http.StatusOK, done)
		})
	}
}

// changeTimeout is how long a change of membership or of the leader may take.
const changeTimeout = time.Minute

// withinChangeTimeout calls change, which may take longer than an answer usually
// may.
func withinChangeTimeout(rq *rest.Request, change func(context.Context) error) error {
	return rq.LongRunning(changeTimeout, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, changeTimeout)
		defer cancel()
		return change(ctx)
	})
}

func (a *API) leader(rq *rest.Request) error {
	l, err := a.control.Leader(rq.Context(), rq.Principal())
	if err != nil {
		return err
	}
	return rq.JSON(http.StatusOK, l)
}

var transferFields = strictjson.FieldsOf[wire.Transfer]()

// transfer takes no body at all for {}. It answers the new leader.
func (a *API) transfer(rq *rest.Request) error {
	var in wire.Transfer
	if err := decodeIfAny(rq, transferFields, &in); err != nil {
		return err
	}
	rq.About(in.To, "")
	return withinChangeTimeout(rq, func(ctx context.Context) error {
		l, err := a.control.Transfer(ctx, rq.Principal(), in)
		if err != nil {
			return err
		}
		rq.About(l.ID, "")
		return rq.JSON(http.StatusOK, l)
	})
}

// decodeIfAny decodes a body, and takes none at all for {}.
func decodeIfAny(rq *rest.Request, fields strictjson.Fields, in any) error {
	if err := rq.ReadBody(); err != nil || rq.Body() == nil {
		return err
	}
	return rest.DecodeStrict(rq.Body(), fields, in)
}

func (a *API) autopilot(rq *rest.Request) error { return rest.Read(rq, a.control.Autopilot) }

var autopilotFields = strictjson.FieldsOf[wire.AutopilotSettings]()

// setAutopilot leaves what is not in the body as it is. It answers what holds then.
func (a *API) setAutopilot(rq *rest.Request) error {
	var in wire.AutopilotSettings
	if err := rq.Decode(autopilotFields, &in); err != nil {
		return err
	}
	out, index, err := a.control.SetAutopilot(rq.Context(), rq.Principal(), in)
	if err != nil {
		return err
	}
	rq.WrittenAt(index)
	return rq.JSON(http.StatusOK, out)
}

func (a *API) level(rq *rest.Request) error { return rest.Read(rq, a.control.Level) }

var raiseLevelFields = strictjson.FieldsOf[wire.RaiseLevel]()

// raiseLevel takes no body at all for {}. It answers the level before and after.
func (a *API) raiseLevel(rq *rest.Request) error {
	var in wire.RaiseLevel
	if err := decodeIfAny(rq, raiseLevelFields, &in); err != nil {
		return err
	}
	out, err := a.control.RaiseLevel(rq.Context(), rq.Principal(), in)
	if err != nil {
		return err
	}
	rq.WrittenAt(out.Index)
	return rq.JSON(http.StatusOK, out)
}
