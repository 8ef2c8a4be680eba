package control

import (
	"context"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

var _ router.Directory = (*Directory)(nil)

// Directory is the replicated registry as the router sees it.
type Directory struct {
	machine *fsm.Machine
	ready   func(ctx context.Context, c raftnode.Consistency, index uint64) (raftnode.Freshness, error)
}

// NewDirectory returns the directory over a machine and its replica.
func NewDirectory(m *fsm.Machine, node Replica) *Directory {
	return &Directory{machine: m, ready: node.Ready}
}

// Home implements router.Directory. The coordinator of a namespace is at home
// at itself.
func (d *Directory) Home(full string) (home, session string, epoch uint64, ok bool) {
	table := d.machine.View().Registry
	if s, ok := table.Session(full); ok {
		return s.Home, s.ID, s.Epoch, true
	}
	if namespace, name, err := registry.Split(full); err == nil && name == wire.Coordinator {
		if row, ok := table.NamespaceOwner(namespace); ok {
			return row.ID, "", 0, true
		}
	}
	return "", "", 0, false
}

// Version implements router.Directory.
func (d *Directory) Version() uint64 { return d.machine.View().Index }

// Fresh implements router.Directory by a strict read.
func (d *Directory) Fresh(ctx context.Context) error {
	_, err := d.ready(ctx, raftnode.Strict, 0)
	return err
}

// Address implements router.Directory.
func (d *Directory) Address(coordinator string) (string, bool) {
	row, ok := d.machine.View().Registry.Coordinator(coordinator)
	return row.PeerAddr, ok && row.PeerAddr != ""
}

// Coordinators implements router.Directory.
func (d *Directory) Coordinators() (ids []string) {
	for row := range d.machine.View().Registry.Coordinators() {
		ids = append(ids, row.ID)
	}
	return ids
}

// Changed implements router.Directory. It fires more often than there is
// a change: at every new view.
func (d *Directory) Changed() <-chan struct{} { return d.machine.Feed().Changed() }
