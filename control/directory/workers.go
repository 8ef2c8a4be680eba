package directory

import (
	"context"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Workers lists the components that run parts, and how busy they are.
// Errors: unavailable.
func (d *Directory) Workers(ctx context.Context, who control.Principal, r control.Read) (wire.Workers, control.Fresh, error) {
	if err := d.Authorize(who, control.ComponentsRead, control.Thing{}); err != nil {
		return wire.Workers{}, control.Fresh{}, err
	}
	view, visible, fresh, err := d.ViewFor(ctx, who, control.ComponentsRead, r, control.Part{Resource: fsm.Workers})
	if err != nil {
		return wire.Workers{}, fresh, err
	}
	list := wire.Workers{Workers: []wire.Worker{}}
	for s := range view.Registry.Workers() {
		if !visible.Include(s.Namespace) {
			continue
		}
		runtimes := s.Runtimes
		if runtimes == nil {
			runtimes = []string{}
		}
		w := wire.Worker{
			FullName: s.FullName, Home: s.Home, Runtimes: runtimes, Slots: s.Slots,
			Busy: view.Jobs.Held(s.ID), Labels: s.Labels.Map(), Place: s.Place,
		}
		if h := view.Jobs.Health(s.FullName); h.Session == s.ID && h.Suspect() {
			w.Suspect = h.Reason()
		}
		list.Workers = append(list.Workers, w)
	}
	return list, fresh, nil
}
