package leco

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// method is one method of a LECO coordinator (LECO control protocol, 2.3).
type method struct {
	summary string
	params  []param
	do      func(d *Door, from sender, m *wire.Message, raw json.RawMessage) (any, error)
}

type param struct {
	Name     string         `json:"name"`
	Schema   map[string]any `json:"schema"`
	Required bool           `json:"required"`
}

func oneParam(name, kind string) []param {
	return []param{{Name: name, Schema: map[string]any{"type": kind}, Required: true}}
}

// withoutParams is a method without params.
func withoutParams(summary string, do func(d *Door, from sender, m *wire.Message) (any, error)) method {
	return method{summary: summary, do: func(d *Door, from sender, m *wire.Message, raw json.RawMessage) (any, error) {
		if err := decodeParams(raw, &struct{}{}); err != nil {
			return nil, err
		}
		return do(d, from, m)
	}}
}

// withParam is a method with one parameter.
func withParam[P any](summary, name, kind string, do func(d *Door, from sender, given P) error) method {
	return method{summary: summary, params: oneParam(name, kind), do: func(d *Door, from sender, _ *wire.Message, raw json.RawMessage) (any, error) {
		var in map[string]P
		if err := decodeParams(raw, &in, name); err != nil {
			return nil, err
		}
		if len(in) > 1 {
			return nil, badParams("the method takes %s alone", name)
		}
		return nil, do(d, from, in[name])
	}}
}

var methods map[string]method

func init() {
	methods = map[string]method{
		"pong": withoutParams("Nothing: the message counts as a heartbeat.", func(*Door, sender, *wire.Message) (any, error) { return nil, nil }),
		"set_log_level": withParam("Set the log level: DEBUG, INFO, WARNING, ERROR or CRITICAL.", "level", "string",
			func(d *Door, from sender, level string) error {
				if !slices.Contains([]string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, level) {
					return badParams("there is no level %.80q", level)
				}
				d.log.Info("log level set by a LECO component", "level", level, "by", from.full)
				if d.cfg.SetLogLevel != nil {
					d.cfg.SetLogLevel(level)
				}
				return nil
			}),
		"shut_down":             withoutParams("Sign out from the other coordinators and stop.", (*Door).shutDown),
		"sign_in":               withoutParams("Sign the sender in under its name.", (*Door).signIn),
		"sign_out":              withoutParams("Sign the sender out.", (*Door).signOut),
		"coordinator_sign_in":   withoutParams("Sign a coordinator in, under its namespace.", (*Door).coordinatorSignIn),
		"coordinator_sign_out":  withoutParams("Sign a coordinator out.", (*Door).coordinatorSignOut),
		"add_nodes":             withParam("Link to these coordinators.", "nodes", "object", (*Door).addNodes),
		"send_nodes":            withoutParams("The coordinators' addresses by namespace.", func(d *Door, _ sender, _ *wire.Message) (any, error) { return d.nodeAddresses(), nil }),
		"record_components":     withParam("Remember the names in the sender's namespace.", "components", "array", (*Door).recordComponents),
		"send_local_components": withoutParams("The names in this namespace.", func(d *Door, _ sender, _ *wire.Message) (any, error) { return d.localNames(), nil }),
		"send_global_components": withoutParams("The names in every namespace.",
			func(d *Door, _ sender, _ *wire.Message) (any, error) { return d.globalNames(), nil }),
		"remove_expired_addresses": withParam("Forget who was silent for three times as many seconds, and ask who was for as many.", "expiration_time", "number",
			func(d *Door, _ sender, seconds float64) error {
				if seconds < 0 || math.IsNaN(seconds) || seconds > 1e9 {
					return badParams("expiration_time is a number of seconds")
				}
				d.expireSilent(time.Duration(seconds * float64(time.Second)))
				d.scheduleUpdate()
				return nil
			}),
	}
}

// shutDown is answered before the coordinator stops: ShutDown must not wait
// for the door.
func (d *Door) shutDown(from sender, _ *wire.Message) (any, error) {
	if d.cfg.ShutDown == nil || from.reg == nil {
		return nil, jsonrpc.NewError(jsonrpc.CodeServer, "This coordinator is not shut down by its components.", nil)
	}
	d.log.Warn("shut down by a LECO component", "by", from.full)
	d.signOutFromNodes()
	d.cfg.ShutDown(from.full)
	return nil, nil
}

// methodDoc is a method in the OpenRPC document.
type methodDoc struct {
	Name    string         `json:"name"`
	Summary string         `json:"summary,omitempty"`
	Params  []param        `json:"params,omitempty"`
	Result  map[string]any `json:"result,omitempty"`
}

// discover is the OpenRPC document; rpc.discover itself is not in it. LECO's
// methods come first, then those of the cluster.
func (d *Door) discover(from sender) any {
	var list []methodDoc
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		m := methods[name]
		list = append(list, methodDoc{name, m.summary, m.params, map[string]any{"name": "result", "schema": map[string]any{}}})
	}
	if from.reg != nil {
		for _, more := range d.clusterMethods() {
			if _, own := methods[more.Name]; !own {
				list = append(list, more)
			}
		}
	}
	return map[string]any{
		"openrpc": "1.2.6",
		"info":    map[string]any{"title": d.full, "version": d.cluster.Self().Version},
		"methods": list,
	}
}

// clusterMethods are the methods that every session of the cluster may use.
func (d *Door) clusterMethods() []methodDoc {
	ctx, cancel := context.WithTimeout(d.ctx, callTimeout)
	defer cancel()
	for s := range d.cluster.State().Registry.SessionsOf(d.id) {
		doc, _, err := d.cluster.CallAs(ctx, s, "rpc.discover", nil)
		if err != nil {
			return nil
		}
		b, err := json.Marshal(doc)
		if err != nil {
			return nil
		}
		var in struct{ Methods []methodDoc }
		if json.Unmarshal(b, &in) != nil {
			return nil
		}
		return in.Methods
	}
	return nil
}
