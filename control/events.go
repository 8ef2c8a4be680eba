package control

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Position is a place in the feed. Written it is "812.3"; "812" is behind all
// events of index 812.
type Position struct {
	Index uint64
	Seq   int
}

func (p Position) String() string {
	if p.Seq == math.MaxInt {
		return strconv.FormatUint(p.Index, 10)
	}
	return fmt.Sprintf("%d.%d", p.Index, p.Seq)
}

// ParsePosition reads what String wrote; field names it in the error.
func ParsePosition(field, s string) (Position, error) {
	index, seq, parts := strings.Cut(s, ".")
	p := Position{Seq: math.MaxInt}
	var err error
	if p.Index, err = strconv.ParseUint(index, 10, 64); err == nil && parts {
		p.Seq, err = strconv.Atoi(seq)
	}
	if err != nil || p.Seq < 0 {
		return p, wire.Invalid(field, "a place in the feed is written like 812 or 812.3, not %.40q", s)
	}
	return p, nil
}

// Cursor reads the feed of this coordinator from a place on. It is for one
// goroutine and needs no closing.
type Cursor struct {
	control *Control
	at      Position
	topics  map[string]bool // nil: all
}

// Events returns a cursor behind the place after, or behind all there is when
// after is nil. No topics means all. Errors: invalid (topic).
func (c *Control) Events(topics []string, after *Position) (*Cursor, error) {
	cur := &Cursor{control: c}
	for _, t := range topics {
		switch t {
		case wire.TopicComponent, wire.TopicJob, wire.TopicMember, wire.TopicService, wire.TopicLock, wire.TopicFlow:
		default:
			return nil, wire.Invalid("topic", "no topic %.40q", t)
		}
		if cur.topics == nil {
			cur.topics = map[string]bool{}
		}
		cur.topics[t] = true
	}
	if after != nil {
		cur.at = *after
	} else {
		cur.now()
	}
	return cur, nil
}

// Next blocks until there is news, ctx ends (its error) or the cursor fell
// behind the feed. Then lagged is true, the events between are lost to it, and
// it goes on from now: the caller lists again what it watches, at least as new
// as At, and then calls Next again.
func (cur *Cursor) Next(ctx context.Context) (events []wire.Event, lagged bool, err error) {
	feed := cur.control.machine.Feed()
	for {
		changed := feed.Changed()
		events, lagged := feed.Since(cur.at.Index, cur.at.Seq)
		if lagged {
			cur.now()
			return nil, true, nil
		}
		if len(events) > 0 {
			last := events[len(events)-1]
			cur.at = Position{Index: last.Index, Seq: last.Seq}
			if chosen := cur.chosen(events); len(chosen) > 0 {
				return chosen, false, nil
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// At returns the place behind the last event that Next looked at.
func (cur *Cursor) At() Position { return cur.at }

func (cur *Cursor) now() {
	cur.at.Index, cur.at.Seq = cur.control.machine.Feed().Last()
}

func (cur *Cursor) chosen(events []wire.Event) []wire.Event {
	chosen := make([]wire.Event, 0, len(events))
	for _, e := range events {
		if cur.topics == nil || cur.topics[e.Topic] {
			e.Data = public(e.Data)
			chosen = append(chosen, e)
		}
	}
	return chosen
}

// public is a row as everybody may see it.
func public(row any) any {
	switch row := row.(type) {
	case registry.Session:
		return component(row)
	case jobs.Job:
		return row.Wire(false)
	case jobs.Part:
		return row.Wire()
	}
	return row
}
