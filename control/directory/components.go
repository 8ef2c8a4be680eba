package directory

import (
	"context"
	"iter"
	"regexp"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// ComponentFilter chooses components; the zero value chooses all.
type ComponentFilter struct {
	Namespace string
	Prefix    string            // of the full name
	Match     string            // regular expression over the whole full name
	Labels    map[string]string // a component must carry all of them
	Home      string            // id of a coordinator
}

// Components lists the signed-in components by full name. Errors: invalid
// (match, limit), unavailable.
func (d *Directory) Components(ctx context.Context, who control.Principal, r control.Read, f ComponentFilter, p control.Page) (wire.Components, control.Fresh, error) {
	if err := d.Authorize(who, control.ComponentsRead, control.Thing{Namespace: f.Namespace}); err != nil {
		return wire.Components{}, control.Fresh{}, err
	}
	limit, err := p.Size()
	if err != nil {
		return wire.Components{}, control.Fresh{}, err
	}
	match, err := f.pattern()
	if err != nil {
		return wire.Components{}, control.Fresh{}, err
	}
	view, visible, fresh, err := d.ViewFor(ctx, who, control.ComponentsRead, r, control.Part{Resource: fsm.Components})
	if err != nil {
		return wire.Components{}, fresh, err
	}
	list := wire.Components{Components: []wire.Component{}}
	for s := range f.rows(view.Registry, p.After) {
		if !strings.HasPrefix(s.FullName, f.first()) && s.FullName > f.first() {
			break // rows are in order: nothing with this prefix follows
		}
		if !visible.Include(s.Namespace) || !f.has(s) || match != nil && !match.MatchString(s.FullName) {
			continue
		}
		if len(list.Components) == limit {
			list.Next = list.Components[limit-1].FullName
			break
		}
		list.Components = append(list.Components, s.Wire())
	}
	return list, fresh, nil
}

// Component returns one signed-in component. Errors: not_found, unavailable.
func (d *Directory) Component(ctx context.Context, who control.Principal, r control.Read, full string) (wire.Component, control.Fresh, error) {
	if err := d.Authorize(who, control.ComponentsRead, control.ComponentThing(full)); err != nil {
		return wire.Component{}, control.Fresh{}, err
	}
	view, visible, fresh, err := d.ViewFor(ctx, who, control.ComponentsRead, r, onComponent(full))
	if err != nil {
		return wire.Component{}, fresh, err
	}
	s, ok := view.Registry.Session(full)
	if !ok || !visible.Include(s.Namespace) {
		return wire.Component{}, fresh, wire.Refuse(wire.CodeNotFound, "no component %.600q", full)
	}
	return s.Wire(), fresh, nil
}

// Lookup is Component as this coordinator knows it now; only before it says that
// there is nobody it looks once more, by a strict read. Errors: not_found,
// unavailable.
func (d *Directory) Lookup(ctx context.Context, who control.Principal, full string) (wire.Component, error) {
	if err := d.Authorize(who, control.ComponentsRead, control.ComponentThing(full)); err != nil {
		return wire.Component{}, err
	}
	if s, ok := d.State().Registry.Session(full); ok {
		return s.Wire(), nil
	}
	out, _, err := d.Component(ctx, who, control.Read{Consistency: "strict"}, full)
	return out, err
}

// Names returns the plain names of the components in every namespace that the
// principal may read, as this coordinator knows them now. Errors: those of
// Authorize.
func (d *Directory) Names(who control.Principal) (map[string][]string, error) {
	visible, err := d.Readable(who, control.ComponentsRead)
	if err != nil {
		return nil, err
	}
	names := map[string][]string{}
	for namespace, n := range addressBook(d.State().Registry, visible) {
		names[namespace] = n.Components
	}
	return names, nil
}

// onComponent is the row of one component; whether there is one, too.
func onComponent(full string) control.Part {
	return control.Part{Resource: fsm.Components, ChangedAt: func(v *fsm.State) uint64 {
		if s, ok := v.Registry.Session(full); ok {
			return s.Index
		}
		return v.Changed(fsm.Components)
	}}
}

// Namespaces returns the address book: the namespace of every coordinator,
// and the plain names in it. A namespace whose coordinator left and that still
// has components is listed without a coordinator.
func (d *Directory) Namespaces(ctx context.Context, who control.Principal, r control.Read) (map[string]wire.Namespace, control.Fresh, error) {
	if err := d.Authorize(who, control.ComponentsRead, control.Thing{}); err != nil {
		return nil, control.Fresh{}, err
	}
	view, visible, fresh, err := d.ViewFor(ctx, who, control.ComponentsRead, r, control.Part{Resource: fsm.AddressBook})
	if err != nil {
		return nil, fresh, err
	}
	return addressBook(view.Registry, visible), fresh, nil
}

// addressBook lists the namespaces of a state that may be read, with the plain
// names in each.
func addressBook(t *registry.Table, visible control.VisibleNamespaces) map[string]wire.Namespace {
	book := map[string]wire.Namespace{}
	for co := range t.Coordinators() {
		if visible.Include(co.Namespace) {
			book[co.Namespace] = wire.Namespace{Coordinator: co.ID, Components: []string{}}
		}
	}
	for s := range t.Sessions() {
		if !visible.Include(s.Namespace) {
			continue
		}
		n := book[s.Namespace]
		n.Components = append(n.Components, s.Name)
		book[s.Namespace] = n
	}
	return book
}

// pattern compiles Match so that it must match the whole name.
func (f ComponentFilter) pattern() (*regexp.Regexp, error) {
	if f.Match == "" {
		return nil, nil
	}
	if len(f.Match) > 1024 {
		return nil, wire.Invalid("match", "a pattern is at most 1024 bytes")
	}
	if _, err := regexp.Compile(f.Match); err != nil { // alone: "a)|(b" must not close the group below
		return nil, wire.Invalid("match", "match is not a regular expression: %v", err)
	}
	re, err := regexp.Compile(`^(?:` + f.Match + `)$`)
	if err != nil {
		return nil, wire.Invalid("match", "match is not a regular expression: %v", err)
	}
	return re, nil
}

// first returns what every chosen full name begins with.
func (f ComponentFilter) first() string {
	if f.Namespace == "" {
		return f.Prefix
	}
	whole := f.Namespace + "."
	if strings.HasPrefix(f.Prefix, whole) {
		return f.Prefix
	}
	return whole
}

// rows walks from where chosen rows can begin.
func (f ComponentFilter) rows(t *registry.Table, after string) iter.Seq[registry.Session] {
	if first := f.first(); first > after {
		return func(yield func(registry.Session) bool) {
			if s, ok := t.Session(first); ok && !yield(s) {
				return
			}
			t.SessionsAfter(first)(yield)
		}
	}
	if after == "" {
		return t.Sessions()
	}
	return t.SessionsAfter(after)
}

func (f ComponentFilter) has(s registry.Session) bool {
	if f.Namespace != "" && s.Namespace != f.Namespace || !strings.HasPrefix(s.FullName, f.Prefix) || f.Home != "" && s.Home != f.Home {
		return false
	}
	for k, v := range f.Labels {
		if got, ok := s.Labels.Value(k); !ok || got != v {
			return false
		}
	}
	return true
}
