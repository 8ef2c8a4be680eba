package control

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Right is what a use case asks of its principal. A write of X contains the
// read of X.
type Right = access.Right

// The rights that use cases ask for.
const (
	ComponentsRead  = access.ComponentsRead
	ComponentsWrite = access.ComponentsWrite // sign in, and keep, take over and end one's own session
	MessagesSend    = access.MessagesSend
	ServicesRead    = access.ServicesRead
	LocksRead       = access.LocksRead
	FlowsRead       = access.FlowsRead
	JobsRead        = access.JobsRead
	JobsWrite       = access.JobsWrite
	JobsWork        = access.JobsWork // offer runtimes, and be given parts of jobs
	ClusterRead     = access.ClusterRead
	ClusterWrite    = access.ClusterWrite
	Admin           = access.Admin
	AnyRight        = Right("any") // whatever the principal may do else
)

// DefaultNamespace is that of what has none of its own: of a job that names
// none, and of a lock or flow without a dot in its name.
const DefaultNamespace = jobs.DefaultNamespace

// Thing is what a right is asked for. The zero value is the whole cluster: a
// right of namespaces is then needed in one of them, whichever it is.
type Thing struct {
	Namespace string // "" is every one, or one that only the row knows
	ID        string // of a job, a member, ...; or the full name of a component
}

// ComponentThing is the component of a full name.
func ComponentThing(full string) Thing {
	namespace, _, _ := strings.Cut(full, ".")
	return Thing{Namespace: namespace, ID: full}
}

// permission is what a principal may do now.
type permission struct {
	all    bool // everything
	grants access.Grants
}

// allows reports whether a right is held for a thing.
func (p permission) allows(right Right, thing Thing) bool {
	switch {
	case p.all || right == AnyRight:
		return true
	case thing.Namespace == "" && right.Scope()&access.OfCluster == 0:
		names, all := p.grants.Namespaces(right)
		return all || len(names) > 0
	}
	return p.grants.Allow(right, thing.Namespace)
}

// Authorize refuses what a principal may not do now: the one place where that is
// decided, called once by each use case. The grants are those that its token has
// in the view of now. Errors: unauthorized (a token is asked for, and this one is
// not valid), forbidden (with what is needed).
func (a *Authenticator) Authorize(who Principal, right Right, thing Thing) error {
	may, err := a.permissionOf(who)
	if err != nil {
		return err
	}
	if !may.allows(right, thing) {
		return forbidden(who, right, thing)
	}
	return nil
}

// AuthorizeRow is Authorize for a row whose namespace the request does not name.
// Who may not even read it gets gone, the error for a row that is not there, so
// that nobody learns that it is.
func (a *Authenticator) AuthorizeRow(who Principal, right Right, row Thing, gone error) error {
	may, err := a.permissionOf(who)
	switch {
	case err != nil:
		return err
	case may.allows(right, row):
		return nil
	case may.allows(right.Read(), row):
		return forbidden(who, right, row)
	}
	return &hidden{gone, right, row}
}

// hidden is a refusal in the words of what is not there: only the audit trail says
// what it was.
type hidden struct {
	gone  error
	right Right
	row   Thing
}

func (h *hidden) Error() string { return h.gone.Error() }

// Unwrap returns what the caller is answered.
func (h *hidden) Unwrap() error { return h.gone }

// HiddenNeed is the grant for want of which a caller was told that there is nothing;
// "": nothing is hidden by this error.
func HiddenNeed(err error) string {
	var h *hidden
	if !errors.As(err, &h) {
		return ""
	}
	return needed(h.right, h.row).String()
}

// forbidden is the refusal of what a principal lacks. Its namespace is one that
// the caller has sent, or may read.
func forbidden(who Principal, right Right, thing Thing) *wire.Error {
	need := needed(right, thing)
	e := wire.Refuse(wire.CodeForbidden, "this needs %s, which nobody has at this door", need)
	if who.token != "" {
		e = wire.Refuse(wire.CodeForbidden, "this needs %s, which token %s has not", need, who.token)
	}
	e.Needs, e.Token = need.String(), who.token
	return e
}

// needed is the grant that has a right for a thing.
func needed(right Right, thing Thing) access.Grant {
	need := access.Grant{Right: right, Namespace: thing.Namespace}
	if need.Namespace == "" && right.Scope()&access.OfCluster == 0 {
		need.Namespace = access.Everywhere
	}
	if len(need.Namespace) > wire.MaxName {
		need.Namespace = need.Namespace[:wire.MaxName]
	}
	return need
}

// VisibleNamespaces is of which namespaces a principal may read the rows.
type VisibleNamespaces struct {
	all   bool
	names []string // sorted
}

// All reports whether that is every namespace.
func (s VisibleNamespaces) All() bool { return s.all }

// Include reports whether a row of this namespace may be read.
func (s VisibleNamespaces) Include(namespace string) bool {
	if s.all {
		return true
	}
	_, found := slices.BinarySearch(s.names, namespace)
	return found
}

// Readable returns of which namespaces a principal may read what a right is for:
// lists, watches, events and counts leave out all others. Errors: unauthorized,
// forbidden (it may read nothing of it at all).
func (a *Authenticator) Readable(who Principal, right Right) (VisibleNamespaces, error) {
	may, err := a.permissionOf(who)
	switch {
	case err != nil:
		return VisibleNamespaces{}, err
	case may.all:
		return VisibleNamespaces{all: true}, nil
	case right.Scope() == access.OfCluster:
		if !may.allows(right, Thing{}) {
			return VisibleNamespaces{}, forbidden(who, right, Thing{})
		}
		return VisibleNamespaces{all: true}, nil
	}
	names, all := may.grants.Namespaces(right)
	if !all && len(names) == 0 {
		return VisibleNamespaces{}, forbidden(who, right, Thing{})
	}
	return VisibleNamespaces{all: all, names: names}, nil
}

// Filtered reports whether there may be something of a right that the principal
// does not see.
func (a *Authenticator) Filtered(who Principal, right Right) bool {
	visible, err := a.Readable(who, right)
	return err != nil || !visible.All()
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
