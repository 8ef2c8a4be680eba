package control

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/wire"
)

// Position is a place in the feed of a cluster. Written it is "812.3@CLUSTER";
// "812@CLUSTER" is behind all events of index 812. Without "@CLUSTER" it is of
// whichever cluster is asked.
type Position struct {
	Index   uint64
	Seq     int
	Cluster string
}

func (p Position) String() string {
	s := strconv.FormatUint(p.Index, 10)
	if p.Seq != math.MaxInt {
		s = fmt.Sprintf("%d.%d", p.Index, p.Seq)
	}
	if p.Cluster != "" {
		s += "@" + p.Cluster
	}
	return s
}

// ParsePosition reads what String wrote; field names it in the error.
func ParsePosition(field, s string) (Position, error) {
	place, cluster, named := strings.Cut(s, "@")
	index, seq, parts := strings.Cut(place, ".")
	p := Position{Seq: math.MaxInt, Cluster: cluster}
	var err error
	if p.Index, err = strconv.ParseUint(index, 10, 64); err == nil && parts {
		p.Seq, err = strconv.Atoi(seq)
	}
	if err != nil || p.Seq < 0 || named && !isClusterID(cluster) {
		return p, wire.Invalid(field, "a place in the feed is written like 812, 812.3 or 812.3@CLUSTER, not %.40q", s)
	}
	return p, nil
}

func isClusterID(s string) bool {
	strange := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	}
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, strange) < 0
}

// Cursor reads the feed of this coordinator from a place on. It is for one
// goroutine and needs no closing.
type Cursor struct {
	core    *Core
	who     Principal
	at      Position
	topics  []string // as asked for; none: all
	visible visibleEvents
}

// Events returns a cursor behind the place after, or behind all there is when
// after is nil. No topics means all of which the principal may read something.
// Errors: invalid (topic), unauthorized, forbidden (it may read nothing of a
// topic, or of any).
func (c *Core) Events(who Principal, topics []string, after *Position) (*Cursor, error) {
	if err := c.Authorize(who, AnyRight, Thing{}); err != nil {
		return nil, err
	}
	for _, t := range topics {
		if _, known := topicRights[t]; !known {
			return nil, wire.Invalid("topic", "no topic %.40q", t)
		}
	}
	cur := &Cursor{core: c, who: who, topics: topics}
	var err error
	if cur.visible, err = c.eventsVisibleTo(who, topics); err != nil {
		return nil, err
	}
	if after != nil {
		cur.at = *after
	} else {
		cur.now()
	}
	return cur, nil
}

// Filtered reports whether the principal does not see all events of the cursor's
// topics.
func (cur *Cursor) Filtered() bool { return cur.visible.filtered }

// Next blocks until there are events, ctx ends (its error) or the cursor's place
// is none that the feed can go on from: it fell behind, or the place is not of
// this cluster's history. Then lagged is true, the events between are lost to
// it, and it goes on from now: the caller lists again what it watches, at least
// as new as At, and then calls Next again.
// It also ends once the principal's token is not valid any more: unauthorized.
func (cur *Cursor) Next(ctx context.Context) (events []wire.Event, lagged bool, err error) {
	ctx, release := cur.core.Hold(ctx, cur.who)
	defer release()
	feed := cur.core.machine.Feed()
	for {
		changed := feed.Changed()
		if cur.visible, err = cur.core.eventsVisibleTo(cur.who, cur.topics); err != nil {
			return nil, false, err
		}
		known, unsure := cur.core.knows(ctx, cur.at.Cluster, cur.at.Index)
		if unsure != nil {
			if !Sleep(ctx, unsurePause) {
				return nil, false, context.Cause(ctx)
			}
			continue
		}
		events, lagged := feed.Since(cur.at.Index, cur.at.Seq)
		if lagged || !known {
			cur.now()
			return nil, true, nil
		}
		if len(events) > 0 {
			last := events[len(events)-1]
			cur.at = Position{last.Index, last.Seq, cur.core.ClusterID()}
			if chosen := cur.chosen(events); len(chosen) > 0 {
				return chosen, false, nil
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

// unsurePause is how long to wait while it is not known whether a place is one of
// this cluster's history.
const unsurePause = time.Second

// knows reports whether a place is one of this cluster's history: a place of
// another cluster is none, nor is one beyond the newest index (the cluster was
// founded anew, and the place names no cluster). Since this coordinator may be
// behind others, the leader is asked before a place is beyond; the error says
// that it could not be.
func (c *Core) knows(ctx context.Context, cluster string, index uint64) (bool, error) {
	if c.foreign(cluster) {
		return false, nil
	}
	own := func() bool { return cluster == "" || cluster == c.ClusterID() }
	if index <= c.machine.View().Index && own() {
		return true, nil
	}
	asking, cancel := context.WithTimeout(ctx, ReadTimeout)
	defer cancel()
	if _, err := c.replica.Ready(asking, raftnode.Default, 0); err != nil {
		return false, err
	}
	if !own() && !c.foreign(cluster) {
		return false, wire.NotTried("the cluster has no id yet")
	}
	return own() && index <= c.machine.View().Index, nil
}

// foreign reports whether an id is certainly that of another cluster; "" never is.
func (c *Core) foreign(cluster string) bool {
	own := c.ClusterID()
	return cluster != "" && own != "" && cluster != own
}

// ClusterID returns the id of the cluster, "" until this coordinator knows it.
func (c *Core) ClusterID() string { return c.machine.View().ClusterID }

// At returns the place behind the last event that Next looked at.
func (cur *Cursor) At() Position { return cur.at }

func (cur *Cursor) now() {
	cur.at.Index, cur.at.Seq = cur.core.machine.Feed().Last()
	cur.at.Cluster = cur.core.ClusterID()
}

// chosen returns the events of the cursor's topics that its principal may read.
func (cur *Cursor) chosen(events []fsm.Event) []wire.Event {
	chosen := make([]wire.Event, 0, len(events))
	view := cur.core.machine.View()
	for i := range events {
		if !events[i].Internal() && cur.visible.shows(view, &events[i]) {
			chosen = append(chosen, events[i].Public())
		}
	}
	return chosen
}
