package access

import (
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// Everywhere is the namespace of a grant that is for all of them.
const Everywhere = "*"

// Grant allows one right, in one namespace or Everywhere. A right of the cluster
// has no namespace. It is written jobs:write@lab1, or cluster:read.
type Grant struct {
	Right     Right
	Namespace string
}

// ParseGrant reads a grant. There are no prefixes and no patterns, and nothing is
// guessed. The error is a *wire.Error of code invalid and names what is wrong.
func ParseGrant(s string) (Grant, error) {
	g, err := parseGrant(s)
	if err != nil {
		return Grant{}, err
	}
	if err := checkNamespace(s, g.Namespace); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// parseGrant reads what is a grant for ever; the namespaces that a door takes are
// fewer.
func parseGrant(s string) (Grant, error) {
	right, namespace, scoped := strings.Cut(s, "@")
	g := Grant{Right(right), namespace}
	scope := g.Right.Scope()
	switch {
	case s == "":
		return Grant{}, invalidGrant("a grant is empty; it is written RIGHT@NAMESPACE, such as jobs:write@lab1, or RIGHT, such as cluster:read")
	case scope == 0:
		return Grant{}, invalidGrant("grant %.80q: there is no right %.80q; the rights are %s", s, right, listed())
	case !scoped && scope&OfCluster == 0:
		return Grant{}, invalidGrant("grant %q: write %s@NAMESPACE, or %s@* for all namespaces", s, right, right)
	case !scoped:
		return g, nil
	case scope&OfNamespace == 0:
		return Grant{}, invalidGrant("grant %.80q: %s is of no namespace; write %s alone", s, right, right)
	case namespace == "":
		return Grant{}, invalidGrant("grant %q: the namespace behind the @ is empty", s)
	case strings.Contains(namespace, "@"):
		return Grant{}, invalidGrant("grant %.80q has more than one @", s)
	case namespace != Everywhere && strings.ContainsAny(namespace, "*?"):
		return Grant{}, invalidGrant("grant %.80q: %.80q is a pattern; a grant is for one namespace exactly, or for * (all of them)", s, namespace)
	case strings.Contains(namespace, "."):
		return Grant{}, invalidGrant("grant %.80q: %.80q has a '.' in it, which is what parts a namespace from a name; there are no rights for single names", s, namespace)
	}
	return g, nil
}

func invalidGrant(format string, args ...any) *wire.Error {
	return wire.Invalid("grants", format, args...)
}

// listed is all rights as text.
func listed() string {
	var b strings.Builder
	for i, r := range Rights() {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(r))
	}
	return b.String()
}

// String is the grant as ParseGrant reads it.
func (g Grant) String() string {
	if g.Namespace == "" {
		return string(g.Right)
	}
	return string(g.Right) + "@" + g.Namespace
}

// Allow reports whether the grant allows a right in a namespace; a right of the
// cluster is asked for with the namespace "". What is allowed Everywhere only a
// grant for Everywhere allows.
func (g Grant) Allow(right Right, namespace string) bool {
	switch {
	case g.Namespace == "" && g.Right == Admin:
		return right.takes(namespace)
	case !g.Right.Contains(right) || !right.takes(namespace):
		return false
	case namespace == "":
		return g.Namespace == ""
	}
	return g.Namespace == namespace || g.Namespace == Everywhere
}

// takes reports whether the right can be asked for in a namespace, or, if that is
// "", in none.
func (r Right) takes(namespace string) bool {
	if namespace == "" {
		return r.Scope()&OfCluster != 0
	}
	return r.Scope()&OfNamespace != 0
}

// MarshalText writes the grant as String does.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads a grant as it is in a log or a snapshot, whatever the
// limits of this binary are. The error is a *wire.Error of code invalid.
func (g *Grant) UnmarshalText(b []byte) (err error) {
	*g, err = parseGrant(string(b))
	return err
}

// Grants are the rights of one token; they add up, and nothing takes away from
// them.
type Grants []Grant

// ParseGrants reads a list of grants, in its order. An empty one is refused: it
// allows nothing. The error is a *wire.Error of code invalid.
func ParseGrants(list []string) (Grants, error) {
	if len(list) == 0 {
		return nil, invalidGrant("there are no grants; a token needs at least one, such as read@lab1")
	}
	all := make(Grants, len(list))
	for i, s := range list {
		g, err := ParseGrant(s)
		if err != nil {
			return nil, err
		}
		all[i] = g
	}
	return all, nil
}

// Allow reports whether one of the grants allows a right in a namespace; a right
// of the cluster is asked for with the namespace "". A right that there is not is
// allowed to nobody, not even to Admin.
func (gs Grants) Allow(right Right, namespace string) bool {
	for _, g := range gs {
		if g.Allow(right, namespace) {
			return true
		}
	}
	return false
}

// Namespaces returns in which namespaces a right is allowed, sorted, each once;
// all says that it is allowed in every one, and names are then nil.
func (gs Grants) Namespaces(right Right) (names []string, all bool) {
	if gs.Allow(right, Everywhere) {
		return nil, true
	}
	for _, g := range gs {
		if g.Namespace != "" && g.Allow(right, g.Namespace) {
			names = append(names, g.Namespace)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// Strings returns the grants as they are written, in their order.
func (gs Grants) Strings() []string {
	list := make([]string, len(gs))
	for i, g := range gs {
		list[i] = g.String()
	}
	return list
}
