package control

import (
	"context"
	"strings"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Right is what a use case asks of its principal. A write of X contains the
// read of X.
type Right string

// The rights.
const (
	ComponentsRead  Right = "components:read"
	ComponentsWrite Right = "components:write" // sign in, and keep, take over and end one's own session
	MessagesSend    Right = "messages:send"
	JobsRead        Right = "jobs:read"
	JobsWrite       Right = "jobs:write"
	ClusterRead     Right = "cluster:read"
	ClusterWrite    Right = "cluster:write"
	Admin           Right = "admin"
	AnyRight        Right = "any" // whatever the principal may do else
)

// Thing is what a right is asked for. The zero value is the whole cluster.
type Thing struct {
	Namespace string // "" is every one, or one that only the row knows
	ID        string // of a job, a member, ...; or the full name of a component
}

// ComponentThing is the component of a full name.
func ComponentThing(full string) Thing {
	namespace, _, _ := strings.Cut(full, ".")
	return Thing{Namespace: namespace, ID: full}
}

// Authorize refuses what a principal may not do: the one place where that is
// decided, called once by each use case. Whoever a door let in may do
// everything. Errors: unauthorized.
func (a *Authenticator) Authorize(who Principal, _ Right, _ Thing) error {
	if a.asks(who.from.Door) && !who.admitted {
		return wire.Refuse(wire.CodeUnauthorized, "this needs a token that is known here")
	}
	return nil
}

// AuthorizeSession is Authorize for what a session asks by its secret, for itself.
// Errors: those of Authorize, and of SecretsSession.
func (c *Core) AuthorizeSession(ctx context.Context, who Principal, right Right) (registry.Session, error) {
	if err := c.Authorize(who, right, Thing{}); err != nil {
		return registry.Session{}, err
	}
	return c.SecretsSession(ctx, who.Secret())
}

// AuthorizeOwner is AuthorizeSession for a request that names the component it
// is about.
func (c *Core) AuthorizeOwner(ctx context.Context, who Principal, right Right, full string) (registry.Session, error) {
	if err := c.Authorize(who, right, ComponentThing(full)); err != nil {
		return registry.Session{}, err
	}
	return c.OwnerOfSecret(ctx, full, who.Secret())
}
