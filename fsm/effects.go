package fsm

import (
	"fmt"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// draft is a state while the commands of one entry work on it. A table is
// copied when the first of them touches it.
type draft struct {
	point
	known int
	share bool // a copy of a table serves all commands of the entry
	news  []wire.Event
}

// point is where a refused command takes the draft back to. State.events is
// the number of news.
type point struct {
	State
	reg, job copied
}

// copied tells of a table whether it is the draft's own, and what Writes said
// after the last command carried out.
type copied struct {
	own    bool
	writes int
}

func (d *draft) registry() *registry.Table {
	if !d.reg.own {
		d.Registry, d.reg = d.Registry.Next(d.Index), copied{own: true}
	}
	return d.Registry
}

func (d *draft) jobs() *jobs.Table {
	if !d.job.own {
		d.Jobs, d.job = d.Jobs.Next(d.Index), copied{own: true}
	}
	return d.Jobs
}

// begin returns the point to which the next command, refused, takes the draft
// back.
func (d *draft) begin() point {
	if !d.share {
		d.reg, d.job = copied{}, copied{}
	}
	return d.point
}

// drop undoes a refused command: what it copied it wrote to alone. false says
// that it wrote to what earlier commands of the entry wrote to as well.
func (d *draft) drop(before point) bool {
	if before.reg.own && d.Registry.Writes() != before.reg.writes || before.job.own && d.Jobs.Writes() != before.job.writes {
		return false
	}
	d.point, d.news = before, d.news[:before.events]
	return true
}

// keep carries out what a command on one table does to another, and collects
// the news, causes before their effects.
func (d *draft) keep() {
	if d.reg.own {
		news := d.Registry.TakeNews()
		d.add(news)
		for i := range news {
			if gone, ok := news[i].Data.(registry.Ended); ok {
				d.leave(gone, news[i].At)
			}
		}
		d.reg.writes = d.Registry.Writes()
	}
	if d.job.own {
		d.add(d.Jobs.TakeNews())
		d.job.writes = d.Jobs.Writes()
	}
}

// leave takes from the jobs what hangs on a session that has ended.
func (d *draft) leave(gone registry.Ended, at time.Time) {
	if d.Jobs.Held(gone.ID) > 0 {
		release := d.jobs().Release
		if gone.Kind == registry.EventExpired {
			release = d.jobs().ReleaseVanished
		}
		release(gone.ID, fmt.Sprintf("worker %s is gone: %s", gone.FullName, gone.Reason), at)
	}
	if d.Jobs.Health(gone.FullName).Session == gone.ID {
		d.jobs().Forgive(gone.FullName, gone.ID)
	}
}

func (d *draft) add(news []wire.Event) {
	for i := range news {
		d.news = append(d.news, news[i])
		d.news[d.events].Seq = d.events
		d.events++
	}
}

func (d *draft) tell(kind, key string, at time.Time) {
	d.add([]wire.Event{{Index: d.Index, Topic: wire.TopicMember, Kind: kind, Key: key, At: at}})
}

// Found gives the cluster its id, once.
type Found struct {
	Cluster string `json:"cluster"`
}

// Validate says what is wrong with the id. The error is a *wire.Error of code
// invalid.
func (c Found) Validate() error {
	if c.Cluster == "" || len(c.Cluster) > wire.MaxName {
		return wire.Invalid("cluster", "a cluster's id has 1 to %d bytes, not %d", wire.MaxName, len(c.Cluster))
	}
	return nil
}

func (d *draft) found(c Found, at time.Time) (string, error) {
	switch {
	case c.Cluster == "":
		return "", wire.Invalid("cluster", "a cluster's id is not empty")
	case d.ClusterID == c.Cluster:
		return d.ClusterID, nil
	case d.ClusterID != "":
		return "", wire.Refuse(wire.CodeConflict, "this is cluster %s already", d.ClusterID)
	}
	d.ClusterID = c.Cluster
	d.tell("founded", c.Cluster, at)
	return d.ClusterID, nil
}

// RaiseLevel offers the commands of a higher level. It is refused while a
// coordinator is known that does not know them.
type RaiseLevel struct {
	Level int `json:"level"`
}

func (d *draft) raiseLevel(c RaiseLevel, at time.Time) (int, error) {
	if c.Level <= d.Level {
		return d.Level, nil
	}
	n := 0
	for row := range d.Registry.Coordinators() {
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
	d.Level = c.Level
	d.tell("level_raised", fmt.Sprint(c.Level), at)
	return d.Level, nil
}

// announce keeps a coordinator out that is too old for the cluster's level.
func (d *draft) announce(c registry.Announce, at time.Time) (registry.Coordinator, error) {
	row, err := d.registry().Announce(c, at)
	if err == nil && row.Level < d.Level {
		return registry.Coordinator{}, wire.Refuse(wire.CodeConflict,
			"coordinator %s knows level %d only; the cluster is at level %d", row.ID, row.Level, d.Level)
	}
	return row, err
}
