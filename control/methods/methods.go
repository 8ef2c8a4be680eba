package methods

import (
	"context"
	"encoding/json"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// method is one row of the table of methods.
type method struct {
	summary string
	params  []Param
	right   control.Right // what the sender needs; who carries it out asks for it, in the namespace of its thing
	// atLECO is the summary of a method that the LECO door carries out itself; "":
	// it does not.
	atLECO string
	// atNative: the door of native sessions carries it out itself.
	atNative bool
	routine  bool // see recorded
	// do carries it out at all other doors; nil: they do not have it.
	do func(c *Coordinator, ctx context.Context, from caller, raw json.RawMessage) (any, uint64, error)
}

// Param is one parameter of a method, as OpenRPC describes it.
type Param struct {
	Name     string         `json:"name"`
	Schema   map[string]any `json:"schema"`
	Required bool           `json:"required"`
}

// recorded reports whether the audit trail has what a door carries out of a method: what coordinators ask each other for
// all the time is not in it.
func (m method) recorded() bool {
	return !m.routine && (m.right == control.ClusterWrite || m.right == control.Admin)
}

func (m method) names() []string {
	names := make([]string, len(m.params))
	for i, p := range m.params {
		names[i] = p.Name
	}
	return names
}

func need(name, kind string) Param {
	return Param{Name: name, Schema: map[string]any{"type": kind}, Required: true}
}

// with makes a method of a function over decoded params.
func with[P any](summary string, do func(*Coordinator, context.Context, caller, P) (any, uint64, error), takes ...Param) method {
	m := method{summary: summary, params: takes}
	names := m.names()
	m.do = func(c *Coordinator, ctx context.Context, from caller, raw json.RawMessage) (any, uint64, error) {
		var in P
		if err := jsonrpc.DecodeParams(raw, names, &in); err != nil {
			return nil, 0, err
		}
		return do(c, ctx, from, in)
	}
	return m
}

// needs returns the row with the right that its senders need.
func (m method) needs(r control.Right) method {
	m.right = r
	return m
}

// leco returns the row as one that the LECO door carries out itself, with LECO's
// own summary.
func (m method) leco(summary string) method {
	m.atLECO = summary
	return m
}

// native returns the row as one that the door of native sessions carries out
// itself.
func (m method) native() method {
	m.atNative = true
	return m
}

// often returns the row as one that is asked for all the time.
func (m method) often() method {
	m.routine = true
	return m
}

// byDoor is a method that only doors carry out.
func byDoor(takes ...Param) method { return method{params: takes} }

type none struct{}

// table has every method of COORDINATOR, for all doors: those of LECO's
// coordinator under LECO's names (LECO control protocol, 2.3), those of workers,
// and directory and jobs for sessions that have no REST (docs/protocol.md,
// section 5).
var table = map[string]method{
	"pong": with("Nothing: the message counts as a sign of life.",
		func(c *Coordinator, ctx context.Context, from caller, _ none) (any, uint64, error) {
			err := c.Authorize(from.who, control.ComponentsWrite, control.ComponentThing(from.session.FullName))
			if err == nil {
				_, err = c.home.Beat(ctx, from.session)
			}
			return nil, 0, err
		}).needs(control.ComponentsWrite).leco("Nothing: the message counts as a heartbeat."),
	"sign_out": with("Sign the sender out.",
		func(c *Coordinator, ctx context.Context, from caller, _ none) (any, uint64, error) {
			index, err := c.home.SignOutAs(ctx, from.who, from.session)
			return nil, index, err
		}).needs(control.ComponentsWrite).leco("Sign the sender out.").native(),
	"send_local_components": with("The plain names in this coordinator's namespace.",
		func(c *Coordinator, _ context.Context, from caller, _ none) (any, uint64, error) {
			all, err := c.directory.Names(from.who)
			names := all[c.Self().Namespace]
			if names == nil {
				names = []string{}
			}
			return names, 0, err
		}).needs(control.ComponentsRead).leco("The names in this namespace."),
	"send_global_components": with("The plain names in every namespace.",
		func(c *Coordinator, _ context.Context, from caller, _ none) (any, uint64, error) {
			names, err := c.directory.Names(from.who)
			return names, 0, err
		}).needs(control.ComponentsRead).leco("The names in every namespace."),
	"send_nodes": with("The address for components of every namespace's coordinator.",
		func(c *Coordinator, _ context.Context, from caller, _ none) (any, uint64, error) {
			nodes, err := c.Nodes(from.who)
			return nodes, 0, err
		}).needs(control.AnyRight).leco("The coordinators' addresses by namespace."),
	"start_parts":  with("The sender, a worker, has begun to run parts.", (*Coordinator).startParts, need("parts", "array")).needs(control.ComponentsWrite),
	"finish_parts": with("The sender, a worker, has run parts.", (*Coordinator).finishParts, need("parts", "array")).needs(control.ComponentsWrite),
	"append_log": with("More output of a part the sender runs.", (*Coordinator).appendLog,
		need("job", "string"), need("part", "integer"), need("attempt", "integer"), need("offset", "integer"), need("data", "string")).needs(control.ComponentsWrite),
	"sync_parts": with("Compare what the sender, a worker, holds with what it should.", (*Coordinator).syncParts, need("holding", "array")).needs(control.ComponentsWrite),

	"lookup": with("One component, by its full name or the plain one in the sender's namespace.", (*Coordinator).lookup, need("name", "string")).needs(control.ComponentsRead),
	"components": with("The signed-in components by full name, a page at a time.", (*Coordinator).listed,
		may("namespace", "string"), may("prefix", "string"), may("labels", "object"), may("after", "string"), may("limit", "integer"), may("index", "integer")).needs(control.ComponentsRead),
	"coordinators": with("The coordinators and their doors for native sessions, this one first.",
		func(c *Coordinator, _ context.Context, from caller, _ none) (any, uint64, error) {
			doors, err := c.Doors(from.who)
			return map[string]any{"coordinators": doors}, 0, err
		}).needs(control.AnyRight),
	"jobs.submit": {summary: "Hand a job in: the body of POST /v1/jobs, and key.", params: []Param{need("runtime", "string"), need("script", "string")}, do: (*Coordinator).submitted, right: control.JobsWrite},
	"jobs.get": with("One job; with wait not before it ended, or as it is after that time.", (*Coordinator).awaited,
		need("id", "string"), may("wait", "string")).needs(control.JobsRead),
	"jobs.cancel": with("End a job.",
		func(c *Coordinator, ctx context.Context, from caller, in cancelIn) (any, uint64, error) {
			return answered(c.work.CancelJob(ctx, from.who, in.ID, in.Reason))
		}, need("id", "string"), may("reason", "string")).needs(control.JobsWrite),
	"jobs.forget": with("Remove a job that has ended, with its results and logs.",
		func(c *Coordinator, ctx context.Context, from caller, in jobIn) (any, uint64, error) {
			return answered(c.work.ForgetJob(ctx, from.who, in.ID))
		}, need("id", "string")).needs(control.JobsWrite),
	"jobs.results": with("The results of the parts that have ended, by number.", (*Coordinator).ended,
		need("id", "string"), may("after", "integer"), may("limit", "integer")).needs(control.JobsRead),

	// Carried out by the doors alone.
	"sign_in":              byDoor().leco("Sign the sender in under its name.").native().needs(control.ComponentsWrite),
	"subscribe":            byDoor().native().needs(control.AnyRight),
	"unsubscribe":          byDoor().native().needs(control.AnyRight),
	"coordinator_sign_in":  byDoor().leco("Sign a coordinator in, under its namespace.").needs(control.ClusterWrite),
	"coordinator_sign_out": byDoor().leco("Sign a coordinator out.").needs(control.ClusterWrite),
	"add_nodes":            byDoor(need("nodes", "object")).leco("Link to these coordinators.").needs(control.ClusterWrite),
	"record_components":    byDoor(need("components", "array")).leco("Remember the names in the sender's namespace.").needs(control.ClusterWrite).often(),
	"remove_expired_addresses": byDoor(need("expiration_time", "number")).
		leco("Forget who was silent for three times as many seconds, and ask who was for as many.").needs(control.Admin),
	"set_log_level": byDoor(need("level", "string")).leco("Set the log level: DEBUG, INFO, WARNING, ERROR or CRITICAL.").needs(control.ClusterWrite),
	"shut_down":     byDoor().leco("Sign out from the other coordinators and stop.").needs(control.ClusterWrite),
}

// caller is who asks for a method: a principal, the session that it asks for, and by which way it came, as far as that is
// known.
type caller struct {
	who     control.Principal
	session registry.Session
	way     Way
}

// Way is how a caller came, for the audit trail.
type Way struct {
	Door string // see audit.Event; "" is not known
	From control.Credentials
}

// asSession is the caller of what a session asks over its mailbox or its connection.
func (c *Coordinator) asSession(s registry.Session, way Way) caller {
	return caller{c.AsSession(s), s, way}
}

// rightFor is what a principal needs for a method; AnyRight if there is no such method.
func rightFor(name string) control.Right {
	if m, ok := table[name]; ok {
		return m.right
	}
	return control.AnyRight
}

// call carries out a method for a caller, wherever its session is at home: what
// only the home or the keeper of a log can do is passed on by the method.
func (c *Coordinator) call(ctx context.Context, from caller, name string, raw json.RawMessage) (any, uint64, error) {
	if name == "rpc.discover" {
		return c.discover(), 0, nil
	}
	m := table[name]
	if m.do == nil {
		return nil, 0, jsonrpc.NoMethod(wire.Coordinator, name)
	}
	if from.session.Home == c.Self().ID {
		c.home.Alive(from.session)
	}
	out, index, err := m.do(c, ctx, from, raw)
	c.record(from, name, raw, out, index, err)
	return out, index, err
}

// record tells the audit trail what came of a method, if that belongs there: all writes of jobs, which REST has as well,
// and whatever is refused for want of a right.
func (c *Coordinator) record(from caller, method string, raw json.RawMessage, out any, index uint64, err error) {
	if rightFor(method) != control.JobsWrite && !wantsRight(err) {
		return
	}
	e := audit.Event{Door: from.way.Door, Who: c.WithTokenName(from.who).Audited(), What: method}
	if e.Door == "" {
		e.Door = from.who.AuditDoor()
	}
	if e.Who.Session = from.session.ID; e.Who.Remote == "" {
		at := from.way.From.Audited()
		e.Who.Remote, e.Who.Certificate = at.Remote, at.Certificate
	}
	if e.Target = namedID(method, raw); err == nil {
		if job, ok := out.(wire.Job); ok { // which may have got its id here
			e.Target = job.ID
		}
	}
	c.Record(control.Audited(e, index, err))
}

// namedID is the id that params name; "": none.
func namedID(method string, raw json.RawMessage) string {
	object, err := jsonrpc.ObjectParams(raw, table[method].names())
	if err != nil {
		return ""
	}
	var named map[string]json.RawMessage
	var id string
	if json.Unmarshal(object, &named) != nil || json.Unmarshal(named["id"], &id) != nil {
		return ""
	}
	return id
}

func wantsRight(err error) bool {
	code := wire.CodeOf(err)
	return code == wire.CodeUnauthorized || code == wire.CodeForbidden || control.HiddenNeed(err) != ""
}
