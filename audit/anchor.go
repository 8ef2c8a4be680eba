package audit

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// KindAnchor is the kind of Anchoring, and the name of the table of anchors in a snapshot.
const KindAnchor = "audit.anchor"

// Level is the level of the cluster from which on there are anchors in the state.
const Level = 2

// Anchors that are kept. They are rules of the log: every binary must keep the same.
const (
	KeptAnchors      = 64  // for each coordinator: the newest, and what shows that a trail was begun anew
	KeptCoordinators = 256 // of which anchors are kept; beyond it those of the one that was silent for longest go
)

// Anchoring tells the cluster the newest line of a coordinator's trail.
type Anchoring struct {
	Coordinator string `json:"coordinator"`
	ServerID    string `json:"server_id"` // with its incarnation: a new disk has a new trail
	Seq         uint64 `json:"seq"`
	Hash        string `json:"hash"`
}

// Validate refuses names that are longer than this binary's. Errors: invalid.
func (c Anchoring) Validate() error {
	if len(c.Coordinator) > wire.MaxName || len(c.ServerID) > 2*wire.MaxName {
		return wire.Invalid("coordinator", "the id of a coordinator has at most %d bytes", wire.MaxName)
	}
	return nil
}

// Anchor is what the cluster knows of a trail: that its line Seq has this hash.
type Anchor struct {
	Coordinator string    `json:"coordinator"`
	ServerID    string    `json:"server_id"`
	Seq         uint64    `json:"seq"`
	Hash        string    `json:"hash"`
	Index       uint64    `json:"index"` // of the log
	At          time.Time `json:"at"`
}

// Table is the anchors of all coordinators. The zero value is empty.
type Table struct {
	rows   []anchored // by coordinator
	index  uint64     // of the entry that this copy is for
	writes int
}

// anchored is the anchors of one coordinator, oldest first. The slice is never changed, only replaced.
type anchored struct {
	coordinator string
	anchors     []Anchor
}

// forgetOldest removes the oldest anchor of those that need not stay; where all must but the newest, the oldest of all.
func (r *anchored) forgetOldest() {
	oldest := max(0, slices.Index(r.begunAnew()[:len(r.anchors)-1], false))
	r.anchors = slices.Delete(r.anchors, oldest, oldest+1)
}

// begunAnew says of each anchor whether it shows that a trail was begun anew: that of a line, and behind it one of the
// same server that is of no later line. Without the two, those that came then would look like the anchors of a whole
// trail. Of each server it is the pair with the highest number, which its trail takes longest to reach again.
func (r *anchored) begunAnew() (shows []bool) {
	type server struct{ last, high, low int } // places from 1; 0: none
	servers := map[string]server{}
	seq := func(place int) uint64 { return r.anchors[place-1].Seq }
	for i := range r.anchors {
		s := servers[r.anchors[i].ServerID]
		if s.last > 0 && r.anchors[i].Seq <= seq(s.last) && (s.high == 0 || seq(s.last) > seq(s.high)) {
			s.high, s.low = s.last, i+1
		}
		s.last = i + 1
		servers[r.anchors[i].ServerID] = s
	}
	shows = make([]bool, len(r.anchors))
	for i := range r.anchors {
		s := servers[r.anchors[i].ServerID]
		shows[i] = s.high == i+1 || s.low == i+1
	}
	return shows
}

func (r *anchored) newest() *Anchor { return &r.anchors[len(r.anchors)-1] }

// Next returns a copy for the commands of the entry at index.
func (t *Table) Next(index uint64) *Table { return &Table{rows: t.rows, index: index} }

// Writes counts the changes of this copy.
func (t *Table) Writes() int { return t.writes }

// Anchor keeps what a coordinator says of its trail; what it said last already changes nothing. Errors: invalid.
func (t *Table) Anchor(c Anchoring, at time.Time) (Anchor, error) {
	if c.Coordinator == "" || c.Seq == 0 || !isHash(c.Hash) {
		return Anchor{}, wire.Invalid("hash", "an anchor has a coordinator, a line's number from 1 on, and its hash of 64 hex digits")
	}
	place, known := t.find(c.Coordinator)
	var before []Anchor
	if known {
		before = t.rows[place].anchors
		if last := t.rows[place].newest(); last.ServerID == c.ServerID && last.Seq == c.Seq && last.Hash == c.Hash {
			return *last, nil
		}
	}
	a := Anchor{Coordinator: c.Coordinator, ServerID: c.ServerID, Seq: c.Seq, Hash: c.Hash, Index: t.index, At: at}
	row := anchored{c.Coordinator, append(slices.Clone(before), a)}
	for len(row.anchors) > KeptAnchors {
		row.forgetOldest()
	}
	t.rows = slices.Clone(t.rows) // frozen views read the old one
	if known {
		t.rows[place] = row
	} else {
		t.rows = slices.Insert(t.rows, place, row)
	}
	if len(t.rows) > KeptCoordinators {
		t.forgetSilent()
	}
	t.writes++
	return a, nil
}

func (t *Table) find(coordinator string) (place int, known bool) {
	return slices.BinarySearchFunc(t.rows, coordinator, func(r anchored, id string) int { return cmp.Compare(r.coordinator, id) })
}

// forgetSilent removes the anchors of the coordinator whose newest is the oldest.
func (t *Table) forgetSilent() {
	silent := 0
	for i := range t.rows {
		if t.rows[i].newest().Index < t.rows[silent].newest().Index {
			silent = i
		}
	}
	t.rows = slices.Delete(t.rows, silent, silent+1)
}

// Of returns the anchors of a coordinator, oldest first. They are read only.
func (t *Table) Of(coordinator string) []Anchor {
	place, known := t.find(coordinator)
	if !known {
		return nil
	}
	return t.rows[place].anchors
}

// Rows yields every anchor with the name of the table.
func (t *Table) Rows() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i := range t.rows {
			for k := range t.rows[i].anchors {
				if !yield(KindAnchor, &t.rows[i].anchors[k]) {
					return
				}
			}
		}
	}
}

// Load adds a row of a snapshot; rows come in the order of Rows.
func (t *Table) Load(name string, decode func(any) error) (known bool, err error) {
	if name != KindAnchor {
		return false, nil
	}
	var a Anchor
	if err := decode(&a); err != nil {
		return true, err
	}
	n := len(t.rows)
	switch {
	case n > 0 && t.rows[n-1].coordinator == a.Coordinator:
		t.rows[n-1].anchors = append(t.rows[n-1].anchors, a)
	case n > 0 && t.rows[n-1].coordinator > a.Coordinator:
		return true, fmt.Errorf("anchor of %q behind one of %q", a.Coordinator, t.rows[n-1].coordinator)
	default:
		t.rows = append(t.rows, anchored{a.Coordinator, []Anchor{a}})
	}
	return true, nil
}

// Verify says where rows contradict each other.
func (t *Table) Verify() error {
	if len(t.rows) > KeptCoordinators {
		return errors.New("anchors of too many coordinators")
	}
	for i := range t.rows {
		if err := t.rows[i].verify(); err != nil {
			return err
		}
	}
	return nil
}

func (r *anchored) verify() error {
	if len(r.anchors) > KeptAnchors {
		return fmt.Errorf("%d anchors of %q", len(r.anchors), r.coordinator)
	}
	var before uint64
	for i := range r.anchors {
		a := &r.anchors[i]
		if a.Coordinator != r.coordinator || a.Seq == 0 || !isHash(a.Hash) || a.Index < before {
			return fmt.Errorf("anchor %d of %q is none, or out of order", i, r.coordinator)
		}
		before = a.Index
	}
	return nil
}
