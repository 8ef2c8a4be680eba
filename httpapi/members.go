package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) memberRoutes() {
	a.add(route{method: http.MethodGet, path: "/members", params: listParams, handle: a.members})
	a.add(route{method: http.MethodPost, path: "/members", params: none, body: MaxBody, handle: a.addMember})
	a.add(route{method: http.MethodDelete, path: "/members/:id", params: none, handle: a.changeMember(a.control.RemoveMember)})
	a.add(route{method: http.MethodPost, path: "/members/:id/promote", params: none, handle: a.changeMember(a.control.Promote)})
	a.add(route{method: http.MethodPost, path: "/members/:id/demote", params: none, handle: a.changeMember(a.control.Demote)})
	a.add(route{method: http.MethodGet, path: "/leader", params: none, handle: a.leader})
	a.add(route{method: http.MethodPost, path: "/leader/transfer", params: none, body: MaxBody, handle: a.transfer})
}

var memberFields = selectors[wire.Member]{
	"id":        func(m *wire.Member) string { return m.ID },
	"server_id": func(m *wire.Member) string { return m.ServerID },
	"namespace": func(m *wire.Member) string { return m.Namespace },
	"suffrage":  func(m *wire.Member) string { return m.Suffrage },
	"state":     func(m *wire.Member) string { return m.State },
	"alive":     func(m *wire.Member) string { return strconv.FormatBool(m.Alive) },
	"healthy":   func(m *wire.Member) string { return strconv.FormatBool(m.Healthy) },
	"version":   func(m *wire.Member) string { return m.Version },
}

func (a *API) members(rq *request) error {
	page, keep, err := cutting(rq, memberFields, nil)
	if err != nil {
		return err
	}
	return read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Members, control.Fresh, error) {
		list, fresh, err := a.control.Members(ctx, who, r)
		list.Members, list.Next = keep.cut(list.Members, page, func(m *wire.Member) string { return m.ServerID })
		return list, fresh, err
	})
}

var addMemberShape = strictjson.FieldsOf[wire.AddMember]()

func (a *API) addMember(rq *request) error {
	var in wire.AddMember
	if err := rq.decode(addMemberShape, &in); err != nil {
		return err
	}
	return rq.patient(func(ctx context.Context) error {
		m, err := a.control.AddMember(ctx, rq.who, in)
		if err != nil {
			return err
		}
		return rq.json(http.StatusCreated, m)
	})
}

// changed answers a change of membership.
type changed struct {
	ID string `json:"id"`
}

func (a *API) changeMember(change func(context.Context, control.Principal, string) error) func(*request) error {
	return func(rq *request) error {
		id, err := rq.arg("id")
		if err != nil {
			return err
		}
		return rq.patient(func(ctx context.Context) error {
			if err := change(ctx, rq.who, id); err != nil {
				return err
			}
			return rq.json(http.StatusOK, changed{id})
		})
	}
}

func (a *API) leader(rq *request) error {
	l, err := a.control.Leader(rq.context(), rq.who)
	if err != nil {
		return err
	}
	return rq.json(http.StatusOK, l)
}

var transferShape = strictjson.FieldsOf[wire.Transfer]()

// transfer takes no body at all for {}. It answers the new leader.
func (a *API) transfer(rq *request) error {
	var in wire.Transfer
	if err := rq.read(); err != nil {
		return err
	}
	if rq.body != nil {
		if err := decodeStrict(rq.body, transferShape, &in); err != nil {
			return err
		}
	}
	return rq.patient(func(ctx context.Context) error {
		l, err := a.control.Transfer(ctx, rq.who, in)
		if err != nil {
			return err
		}
		return rq.json(http.StatusOK, l)
	})
}
