package methods

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Call carries out a method of COORDINATOR as the session whose secret was
// presented, and returns its result, ready to be written as JSON, and the index of
// the write if there was one (else 0). The methods are in the document that
// rpc.discover answers. Errors: unauthorized, forbidden, not_found (method or
// session), invalid, and what the method itself refuses.
func (c *Coordinator) Call(ctx context.Context, who control.Principal, method string, params json.RawMessage) (any, uint64, error) {
	s, err := c.AuthorizeSession(ctx, who, control.AnyRight)
	if err != nil {
		return nil, 0, err
	}
	return c.call(ctx, caller{who: who.ForSession(s), session: s}, method, params)
}

// Serves reports whether Call carries out methods of to: COORDINATOR, also by its
// full name here. That of another namespace is invalid: it serves the sessions at
// home there, and no other coordinator.
func (c *Coordinator) Serves(to string) (bool, error) {
	namespace, name, full := strings.Cut(to, ".")
	if full && name != wire.Coordinator || !full && to != wire.Coordinator {
		return false, nil
	}
	if full && namespace != c.Self().Namespace {
		return false, wire.Invalid("full", "%s serves who is signed in there: ask at that coordinator, or ask %s.%s", to, c.Self().Namespace, wire.Coordinator)
	}
	return true, nil
}

// Request carries a JSON-RPC request to a component and brings back its
// result. The coordinator asks in its own name (namespace.COORDINATOR) when
// no session's secret was presented, else the answer would go to the session's
// inbox: then the secret only proves who asks. It blocks until the answer, or ctx's end (10 s without
// a deadline). Errors: not_found (receiver_unknown), busy, unavailable,
// unknown (no answer in time); an error answer of the component is conflict
// with its text.
func (c *Coordinator) Request(ctx context.Context, who control.Principal, to, method string, params json.RawMessage) (json.RawMessage, error) {
	to, err := c.home.Receiver(c.Self().Namespace, to)
	if refused := c.Authorize(who, control.MessagesSend, control.ComponentThing(to)); refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	ctx, release := c.Hold(ctx, who)
	defer release()
	if who.Secret() != "" {
		if _, err := c.SecretsSession(ctx, who.Secret()); err != nil {
			return nil, err
		}
	}
	if method == "" || !control.PlainText(method, 256) {
		return nil, wire.Invalid("method", "a method is 1 to 256 bytes of plain text")
	}
	if len(params) > 0 && !json.Valid(params) {
		return nil, wire.Invalid("params", "params are not JSON")
	}
	return c.request(ctx, to, method, params)
}

// CallAs is Call for a session that a door knows by its connection.
func (c *Coordinator) CallAs(ctx context.Context, way Way, s registry.Session, method string, params json.RawMessage) (any, uint64, error) {
	return c.call(ctx, c.asSession(s, way), method, params)
}

// AuthorizeMethod refuses a method that a door carries out itself to who may not
// ask for it, by what the door knows of the caller; what is recorded is refused while
// no record can be made. Errors: those of Authenticate and Authenticator.Authorize,
// unavailable.
func (c *Coordinator) AuthorizeMethod(from control.Credentials, method string) error {
	who, err := c.Authenticate(from)
	if err != nil {
		return err
	}
	if err := c.Authenticator.Authorize(who, rightFor(method), control.Thing{}); err != nil || !table[method].recorded() {
		return err
	}
	return c.Recordable()
}

// RecordMethod tells the audit trail what came of a method that a door has carried
// out, or refused, itself, if that belongs there: what is about the coordinator, and
// whatever is refused for want of a right. Sign-ins the door records when they are over.
func (c *Coordinator) RecordMethod(way Way, session, method string, err error) {
	if m := table[method]; !m.recorded() && !wantsRight(err) {
		return
	}
	e := audit.Event{Door: way.Door, Who: way.From.Audited(), What: method}
	e.Who.Session = session
	c.Record(control.Audited(e, 0, err))
}
