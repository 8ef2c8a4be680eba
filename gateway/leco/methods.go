package leco

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// handler carries out a method that control/methods lists for the LECO door.
type handler func(d *Door, from sender, m *wire.Message, raw json.RawMessage) (any, error)

// withoutParams handles a method without params.
func withoutParams(do func(d *Door, from sender, m *wire.Message) (any, error)) handler {
	return func(d *Door, from sender, m *wire.Message, raw json.RawMessage) (any, error) {
		if err := decodeParams(raw, &struct{}{}); err != nil {
			return nil, err
		}
		return do(d, from, m)
	}
}

// withParam handles a method with one parameter.
func withParam[P any](name string, do func(d *Door, from sender, given P) error) handler {
	return func(d *Door, from sender, _ *wire.Message, raw json.RawMessage) (any, error) {
		var in map[string]P
		if err := decodeParams(raw, &in, name); err != nil {
			return nil, err
		}
		if len(in) > 1 {
			return nil, badParams("the method takes %s alone", name)
		}
		return nil, do(d, from, in[name])
	}
}

// handlers has what the LECO door carries out itself; a test holds it to
// control/methods.
var handlers map[string]handler

func init() {
	handlers = map[string]handler{
		"pong":                     withoutParams(func(*Door, sender, *wire.Message) (any, error) { return nil, nil }),
		"set_log_level":            withParam("level", (*Door).setLogLevel),
		"shut_down":                withoutParams((*Door).shutDown),
		"sign_in":                  withoutParams((*Door).signIn),
		"sign_out":                 withoutParams((*Door).signOut),
		"coordinator_sign_in":      withoutParams((*Door).coordinatorSignIn),
		"coordinator_sign_out":     withoutParams((*Door).coordinatorSignOut),
		"add_nodes":                withParam("nodes", (*Door).addNodes),
		"send_nodes":               withoutParams(func(d *Door, _ sender, _ *wire.Message) (any, error) { return d.nodeAddresses(), nil }),
		"record_components":        withParam("components", (*Door).recordComponents),
		"send_local_components":    withoutParams(func(d *Door, _ sender, _ *wire.Message) (any, error) { return d.localNames(), nil }),
		"send_global_components":   withoutParams(func(d *Door, _ sender, _ *wire.Message) (any, error) { return d.globalNames(), nil }),
		"remove_expired_addresses": withParam("expiration_time", (*Door).removeExpired),
	}
}

func (d *Door) setLogLevel(from sender, level string) error {
	if !slices.Contains([]string{"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, level) {
		return badParams("there is no level %.80q", level)
	}
	d.log.Info("log level set by a LECO component", "level", level, "by", from.full)
	if d.cfg.SetLogLevel != nil {
		d.cfg.SetLogLevel(level)
	}
	return nil
}

func (d *Door) removeExpired(_ sender, seconds float64) error {
	if seconds < 0 || math.IsNaN(seconds) || seconds > 1e9 {
		return badParams("expiration_time is a number of seconds")
	}
	d.expireSilent(time.Duration(seconds * float64(time.Second)))
	d.scheduleUpdate()
	return nil
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

// discover is the OpenRPC document; rpc.discover itself is not in it. LECO's
// methods come first, then those that every session of the cluster may use.
func (d *Door) discover(from sender) any {
	type described struct {
		Name    string          `json:"name"`
		Summary string          `json:"summary,omitempty"`
		Params  []methods.Param `json:"params,omitempty"`
		Result  map[string]any  `json:"result,omitempty"`
	}
	var own, more []described
	for _, m := range methods.Describe(control.DoorLECO) {
		doc := described{m.Name, m.Summary, m.Params, map[string]any{"name": "result", "schema": map[string]any{}}}
		switch {
		case m.ByDoor:
			own = append(own, doc)
		case from.reg != nil:
			more = append(more, doc)
		}
	}
	return map[string]any{
		"openrpc": "1.2.6",
		"info":    map[string]any{"title": d.full, "version": d.cluster.Self().Version},
		"methods": append(own, more...),
	}
}
