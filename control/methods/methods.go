package methods

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// method is one method of COORDINATOR.
type method struct {
	summary string
	params  []param
	do      func(c *Coordinator, ctx context.Context, s registry.Session, raw json.RawMessage) (any, uint64, error)
}

type param struct {
	Name     string         `json:"name"`
	Schema   map[string]any `json:"schema"`
	Required bool           `json:"required"`
}

func (m method) names() []string {
	names := make([]string, len(m.params))
	for i, p := range m.params {
		names[i] = p.Name
	}
	return names
}

func need(name, kind string) param {
	return param{Name: name, Schema: map[string]any{"type": kind}, Required: true}
}

// with makes a method of a function over decoded params.
func with[P any](summary string, do func(*Coordinator, context.Context, registry.Session, P) (any, uint64, error), takes ...param) method {
	m := method{summary: summary, params: takes}
	names := m.names()
	m.do = func(c *Coordinator, ctx context.Context, s registry.Session, raw json.RawMessage) (any, uint64, error) {
		var in P
		if err := jsonrpc.DecodeParams(raw, names, &in); err != nil {
			return nil, 0, err
		}
		return do(c, ctx, s, in)
	}
	return m
}

type none struct{}

// methods of COORDINATOR: those of LECO's coordinator that make sense for a
// component of a cluster, those of workers, and directory and jobs for sessions
// that have no REST (docs/protocol.md, section 5).
var methods = map[string]method{
	"pong": with("Nothing: the message counts as a sign of life.",
		func(c *Coordinator, ctx context.Context, s registry.Session, _ none) (any, uint64, error) {
			_, err := c.home.Beat(ctx, s)
			return nil, 0, err
		}),
	"sign_out": with("Sign the sender out.",
		func(c *Coordinator, ctx context.Context, s registry.Session, _ none) (any, uint64, error) {
			index, err := c.home.SignOutAs(ctx, control.AsSession(s), s)
			return nil, index, err
		}),
	"send_local_components": with("The plain names in this coordinator's namespace.",
		func(c *Coordinator, _ context.Context, _ registry.Session, _ none) (any, uint64, error) {
			names := directory.AddressBook(c.State().Registry)[c.Self().Namespace].Components
			if names == nil {
				names = []string{}
			}
			return names, 0, nil
		}),
	"send_global_components": with("The plain names in every namespace.",
		func(c *Coordinator, _ context.Context, _ registry.Session, _ none) (any, uint64, error) {
			book := map[string][]string{}
			for namespace, n := range directory.AddressBook(c.State().Registry) {
				book[namespace] = n.Components
			}
			return book, 0, nil
		}),
	"send_nodes": with("The address for components of every namespace's coordinator.",
		func(c *Coordinator, _ context.Context, _ registry.Session, _ none) (any, uint64, error) {
			nodes := map[string]string{}
			for row := range c.State().Registry.Coordinators() {
				nodes[row.Namespace] = row.ComponentAddr
				if row.ComponentAddr == "" {
					nodes[row.Namespace] = row.PeerAddr
				}
			}
			return nodes, 0, nil
		}),
	"start_parts":  with("The sender, a worker, has begun to run parts.", (*Coordinator).startParts, need("parts", "array")),
	"finish_parts": with("The sender, a worker, has run parts.", (*Coordinator).finishParts, need("parts", "array")),
	"append_log": with("More output of a part the sender runs.", (*Coordinator).appendLog,
		need("job", "string"), need("part", "integer"), need("attempt", "integer"), need("offset", "integer"), need("data", "string")),
	"sync_parts": with("Compare what the sender, a worker, holds with what it should.", (*Coordinator).syncParts, need("holding", "array")),

	"lookup": with("One component, by its full name or the plain one in the sender's namespace.", (*Coordinator).lookup, need("name", "string")),
	"components": with("The signed-in components by full name, a page at a time.", (*Coordinator).listed,
		may("namespace", "string"), may("prefix", "string"), may("labels", "object"), may("after", "string"), may("limit", "integer"), may("index", "integer")),
	"coordinators": with("The coordinators and their doors for native sessions, this one first.",
		func(c *Coordinator, _ context.Context, s registry.Session, _ none) (any, uint64, error) {
			doors, err := c.Doors(control.AsSession(s))
			return map[string]any{"coordinators": doors}, 0, err
		}),
	"jobs.submit": {summary: "Hand a job in: the body of POST /v1/jobs, and key.", params: []param{need("runtime", "string"), need("script", "string")}, do: (*Coordinator).submitted},
	"jobs.get": with("One job; with wait not before it ended, or as it is after that time.", (*Coordinator).awaited,
		need("id", "string"), may("wait", "string")),
	"jobs.cancel": with("End a job.",
		func(c *Coordinator, ctx context.Context, s registry.Session, in cancelIn) (any, uint64, error) {
			return answered(c.work.CancelJob(ctx, control.AsSession(s), in.ID, in.Reason))
		}, need("id", "string"), may("reason", "string")),
	"jobs.forget": with("Remove a job that has ended, with its results and logs.",
		func(c *Coordinator, ctx context.Context, s registry.Session, in jobIn) (any, uint64, error) {
			return answered(c.work.ForgetJob(ctx, control.AsSession(s), in.ID))
		}, need("id", "string")),
	"jobs.results": with("The results of the parts that have ended, by number.", (*Coordinator).ended,
		need("id", "string"), may("after", "integer"), may("limit", "integer")),
}

// call carries out a method as the session s, wherever that is at home: what
// only the home or the keeper of a log can do is passed on by the method.
func (c *Coordinator) call(ctx context.Context, s registry.Session, name string, raw json.RawMessage) (any, uint64, error) {
	if name == "rpc.discover" {
		return c.discover(), 0, nil
	}
	m, ok := methods[name]
	if !ok {
		return nil, 0, jsonrpc.NoMethod(wire.Coordinator, name)
	}
	if s.Home == c.Self().ID {
		c.home.Alive(s)
	}
	return m.do(c, ctx, s, raw)
}

// discover is the OpenRPC document of COORDINATOR; rpc.discover is not in it.
func (c *Coordinator) discover() any {
	type described struct {
		Name    string         `json:"name"`
		Summary string         `json:"summary"`
		Params  []param        `json:"params"`
		Result  map[string]any `json:"result"`
	}
	list := []described{}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		m := methods[name]
		p := m.params
		if p == nil {
			p = []param{}
		}
		list = append(list, described{name, m.summary, p, map[string]any{"name": "result", "schema": map[string]any{}}})
	}
	return map[string]any{
		"openrpc": "1.2.6",
		"info":    map[string]any{"title": c.Name(), "version": c.Self().Version},
		"methods": list,
	}
}
