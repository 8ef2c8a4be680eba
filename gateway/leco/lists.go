package leco

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/registry"
)

// localNames are the plain names in the local namespace, whatever door they
// signed in at, in the order of their sign-ins.
func (d *Door) localNames() []string {
	type signed struct {
		name  string
		index uint64
	}
	var list []signed
	known := map[string]bool{}
	first := d.namespace + "."
	for s := range d.cluster.State().Registry.SessionsAfter(first) {
		if !strings.HasPrefix(s.FullName, first) {
			break
		}
		list = append(list, signed{s.Name, s.Index})
		known[s.Name] = true
	}
	slices.SortStableFunc(list, func(a, b signed) int {
		switch {
		case a.index < b.index:
			return -1
		case a.index > b.index:
			return 1
		}
		return 0
	})
	names := make([]string, 0, len(list))
	for _, s := range list {
		names = append(names, s.name)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.pendingRegistrations > 0 {
		var more []string
		for _, reg := range d.registrations {
			if reg.granted && !known[reg.name] {
				more = append(more, reg.name)
			}
		}
		slices.Sort(more)
		names = append(names, more...)
	}
	return names
}

// globalNames are the plain names by namespace: of the cluster, and of the
// foreign coordinators as they reported.
func (d *Door) globalNames() map[string][]string {
	book := map[string][]string{}
	table := d.cluster.State().Registry
	for row := range table.Coordinators() {
		book[row.Namespace] = []string{}
	}
	for s := range table.Sessions() {
		book[s.Namespace] = append(book[s.Namespace], s.Name)
	}
	book[d.namespace] = d.localNames()
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, n := range d.nodes {
		if _, ours := book[n.namespace]; !ours {
			book[n.namespace] = append([]string{}, n.components...)
		}
	}
	return book
}

// address is one row of the list of nodes.
type address struct{ namespace, address string }

// addressList is written as a JSON object in its own order.
type addressList []address

// MarshalJSON implements json.Marshaler.
func (l addressList) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, a := range l {
		if i > 0 {
			out.WriteByte(',')
		}
		for j, s := range []string{a.namespace, a.address} {
			if j > 0 {
				out.WriteByte(':')
			}
			b, err := json.Marshal(s)
			if err != nil {
				return nil, err
			}
			out.Write(b)
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// nodeAddresses lists the coordinators that speak LECO, this one first: those of the
// cluster with such a door, and the foreign ones that are linked, at the
// address that was dialled.
func (d *Door) nodeAddresses() addressList {
	list := addressList{{d.namespace, d.cfg.Advertise}}
	ours := map[string]bool{}
	for row := range d.cluster.State().Registry.Coordinators() {
		ours[row.Namespace] = true
		if row.ID != d.id && row.LECOAddr != "" {
			list = append(list, address{row.Namespace, row.LECOAddr})
		}
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	var foreign addressList
	for _, n := range d.nodes {
		if n.out != nil && !ours[n.namespace] {
			foreign = append(foreign, address{n.namespace, n.address})
		}
	}
	slices.SortFunc(foreign, func(a, b address) int { return strings.Compare(a.namespace, b.namespace) })
	return append(list, foreign...)
}

// validNames are those of a foreign coordinator's list that are names.
func validNames(list []string) []string {
	names := make([]string, 0, min(len(list), maxComponents))
	for _, name := range list {
		if len(names) < maxComponents && registry.CheckName("name", name) == nil {
			names = append(names, name)
		}
	}
	return names
}
