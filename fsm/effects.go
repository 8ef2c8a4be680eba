package fsm

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// draft is a state while one command works on it. Tables are copied when they
// are first touched; the registry's copy serves all commands of an entry, since
// its commands look before they write.
type draft struct {
	old     *State
	known   int
	level   int
	cluster string
	reg     *registry.Table
	job     *jobs.Table
	news    []wire.Event
	told    int // news in reg before this command
	wrote   int // writes to reg before this command
}

func (d *draft) registry() *registry.Table {
	if d.reg == nil {
		d.reg = d.old.Registry
		if !d.old.own {
			d.reg = d.reg.Next(d.old.Index)
		}
		d.told, d.wrote = len(d.reg.News()), d.reg.Writes()
	}
	return d.reg
}

func (d *draft) jobs() *jobs.Table {
	if d.job == nil {
		d.job = d.old.Jobs.Next(d.old.Index)
	}
	return d.job
}

// torn tells whether a refused command wrote to what earlier commands of the
// entry wrote to as well, so that dropping it would drop them.
func (d *draft) torn() bool {
	return d.reg != nil && d.old.own && (d.reg.Writes() != d.wrote || len(d.reg.News()) != d.told)
}

// keep carries out what a command on one table does to another, writes the
// draft into s and returns the news, causes before their effects.
func (d *draft) keep(s *State) []wire.Event {
	news := d.news
	if d.reg != nil {
		fresh := d.reg.News()[d.told:]
		news = append(news, fresh...)
		for _, e := range fresh {
			if gone, ok := e.Data.(registry.Ended); ok && s.Jobs.Held(gone.ID) > 0 {
				d.jobs().Release(gone.ID, fmt.Sprintf("worker %s is gone: %s", gone.FullName, gone.Reason), e.At)
			}
		}
		s.Registry = d.reg
	}
	if d.job != nil {
		news = append(news, d.job.News()...)
		s.Jobs = d.job
	}
	s.Level, s.ClusterID = d.level, d.cluster
	return news
}

func (d *draft) tell(kind, key string, at time.Time) {
	d.news = append(d.news, wire.Event{
		Index: d.old.Index, Topic: wire.TopicMember, Kind: kind, Key: key, At: at,
	})
}

// Found gives the cluster its id, once.
type Found struct {
	Cluster string `json:"cluster"`
}

func (d *draft) found(c Found, at time.Time) (string, error) {
	switch {
	case c.Cluster == "" || len(c.Cluster) > wire.MaxName:
		return "", wire.Invalid("cluster", "a cluster's id has 1 to %d bytes, not %d", wire.MaxName, len(c.Cluster))
	case d.cluster == c.Cluster:
		return d.cluster, nil
	case d.cluster != "":
		return "", wire.Refuse(wire.CodeConflict, "this is cluster %s already", d.cluster)
	}
	d.cluster = c.Cluster
	d.tell("founded", c.Cluster, at)
	return d.cluster, nil
}

// RaiseLevel offers the commands of a higher level. It is refused while a
// coordinator is known that does not know them.
type RaiseLevel struct {
	Level int `json:"level"`
}

func (d *draft) raiseLevel(c RaiseLevel, at time.Time) (int, error) {
	if c.Level <= d.level {
		return d.level, nil
	}
	n := 0
	for row := range d.old.Registry.Coordinators() {
		if row.Level < c.Level {
			return 0, wire.Refuse(wire.CodeConflict, "coordinator %s knows level %d only", row.ID, row.Level)
		}
		n++
	}
	if n == 0 {
		return 0, wire.Refuse(wire.CodeConflict, "no coordinator is known yet")
	}
	if c.Level > d.known {
		return 0, &stopError{fmt.Errorf("level %d: this binary is too old, it knows level %d", c.Level, d.known)}
	}
	d.level = c.Level
	d.tell("level_raised", fmt.Sprint(c.Level), at)
	return d.level, nil
}

// announce keeps a coordinator out that is too old for the cluster's level.
func (d *draft) announce(c registry.Announce, at time.Time) (registry.Coordinator, error) {
	row, err := d.registry().Announce(c, at)
	if err == nil && row.Level < d.level {
		return registry.Coordinator{}, wire.Refuse(wire.CodeConflict,
			"coordinator %s knows level %d only; the cluster is at level %d", row.ID, row.Level, d.level)
	}
	return row, err
}
