package control

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// method is one method of COORDINATOR.
type method struct {
	summary string
	params  []param
	do      func(c *Control, ctx context.Context, s registry.Session, raw json.RawMessage) (any, uint64, error)
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
func with[P any](summary string, do func(*Control, context.Context, registry.Session, P) (any, uint64, error), takes ...param) method {
	m := method{summary: summary, params: takes}
	names := m.names()
	m.do = func(c *Control, ctx context.Context, s registry.Session, raw json.RawMessage) (any, uint64, error) {
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
		func(c *Control, ctx context.Context, s registry.Session, _ none) (any, uint64, error) {
			_, err := c.beat(ctx, s)
			return nil, 0, err
		}),
	"sign_out": with("Sign the sender out.",
		func(c *Control, ctx context.Context, s registry.Session, _ none) (any, uint64, error) {
			index, err := c.signOut(ctx, s)
			return nil, index, err
		}),
	"send_local_components": with("The plain names in this coordinator's namespace.",
		func(c *Control, _ context.Context, _ registry.Session, _ none) (any, uint64, error) {
			names := addressBook(c.machine.View().Registry)[c.self.Namespace].Components
			if names == nil {
				names = []string{}
			}
			return names, 0, nil
		}),
	"send_global_components": with("The plain names in every namespace.",
		func(c *Control, _ context.Context, _ registry.Session, _ none) (any, uint64, error) {
			book := map[string][]string{}
			for namespace, n := range addressBook(c.machine.View().Registry) {
				book[namespace] = n.Components
			}
			return book, 0, nil
		}),
	"send_nodes": with("The address for components of every namespace's coordinator.",
		func(c *Control, _ context.Context, _ registry.Session, _ none) (any, uint64, error) {
			nodes := map[string]string{}
			for row := range c.machine.View().Registry.Coordinators() {
				nodes[row.Namespace] = row.ComponentAddr
				if row.ComponentAddr == "" {
					nodes[row.Namespace] = row.PeerAddr
				}
			}
			return nodes, 0, nil
		}),
	"start_parts":  with("The sender, a worker, has begun to run parts.", (*Control).startParts, need("parts", "array")),
	"finish_parts": with("The sender, a worker, has run parts.", (*Control).finishParts, need("parts", "array")),
	"append_log": with("More output of a part the sender runs.", (*Control).appendLog,
		need("job", "string"), need("part", "integer"), need("attempt", "integer"), need("offset", "integer"), need("data", "string")),
	"sync_parts": with("Compare what the sender, a worker, holds with what it should.", (*Control).syncParts, need("holding", "array")),

	"lookup": with("One component, by its full name or the plain one in the sender's namespace.", (*Control).lookup, need("name", "string")),
	"components": with("The signed-in components by full name, a page at a time.", (*Control).listed,
		may("namespace", "string"), may("prefix", "string"), may("labels", "object"), may("after", "string"), may("limit", "integer"), may("index", "integer")),
	"coordinators": with("The coordinators and their doors for native sessions, this one first.",
		func(c *Control, _ context.Context, s registry.Session, _ none) (any, uint64, error) {
			doors, err := c.Doors(asSession(s))
			return map[string]any{"coordinators": doors}, 0, err
		}),
	"jobs.submit": {summary: "Hand a job in: the body of POST /v1/jobs, and key.", params: []param{need("runtime", "string"), need("script", "string")}, do: (*Control).submitted},
	"jobs.get": with("One job; with wait not before it ended, or as it is after that time.", (*Control).awaited,
		need("id", "string"), may("wait", "string")),
	"jobs.cancel": with("End a job.",
		func(c *Control, ctx context.Context, s registry.Session, in cancelIn) (any, uint64, error) {
			return answered(c.CancelJob(ctx, asSession(s), in.ID, in.Reason))
		}, need("id", "string"), may("reason", "string")),
	"jobs.forget": with("Remove a job that has ended, with its results and logs.",
		func(c *Control, ctx context.Context, s registry.Session, in jobIn) (any, uint64, error) {
			return answered(c.ForgetJob(ctx, asSession(s), in.ID))
		}, need("id", "string")),
	"jobs.results": with("The results of the parts that have ended, by number.", (*Control).ended,
		need("id", "string"), may("after", "integer"), may("limit", "integer")),
}

// call carries out a method as the session s, wherever that is at home: what
// only the home or the keeper of a log can do is passed on by the method.
func (c *Control) call(ctx context.Context, s registry.Session, name string, raw json.RawMessage) (any, uint64, error) {
	if name == "rpc.discover" {
		return c.discover(), 0, nil
	}
	m, ok := methods[name]
	if !ok {
		return nil, 0, jsonrpc.NoMethod(wire.Coordinator, name)
	}
	if s.Home == c.self.ID {
		c.alive(s)
	}
	return m.do(c, ctx, s, raw)
}

// discover is the OpenRPC document of COORDINATOR; rpc.discover is not in it.
func (c *Control) discover() any {
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
		"info":    map[string]any{"title": c.Name(), "version": c.self.Version},
		"methods": list,
	}
}
