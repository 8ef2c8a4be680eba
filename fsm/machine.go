// Package fsm is the replicated state machine: commands in, frozen views and
// events out.
package fsm

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/indexwait"
)

// Level is the highest level of commands this binary knows. The replicated
// level is raised to it, by a command, once every coordinator knows it.
// 1: the first release, 2026-11.
// 2: tokens, and namespaces of jobs, 2026-12.
const Level = 2

// State is everything the cluster agrees on, as of Index. It is frozen: read
// it from any goroutine, for as long as you like, and change nothing.
type State struct {
	Index     uint64
	ClusterID string // "" until the cluster is founded
	Level     int
	Group     Group // raft's, as a leader wrote it down last
	Autopilot wire.AutopilotSettings
	Access    *access.Table
	Registry  *registry.Table
	Jobs      *jobs.Table
	Audit     *audit.Table // anchors of audit trails

	staged   *staged  // nil: no file is being restored
	restored Restored // the last one that was

	events int    // emitted by the entry at Index
	loaded uint64 // index of the snapshot this state began with, or of the entry that restored a file
}

// Position is where in the feed this state stands: Feed.Since(Position())
// gives exactly what happened after it.
func (s *State) Position() (index uint64, seq int) { return s.Index, s.events - 1 }

// Machine is the state machine. One goroutine at a time calls Apply and
// Restore; everything else may be called from anywhere.
type Machine struct {
	// Fatal is called with the index of an entry this binary must not apply, and why. It is
	// set before the first Apply. If it is nil, Apply panics. If it returns, the
	// machine stays as it was before that entry and refuses all others.
	Fatal func(index uint64, err error)

	state       atomic.Pointer[State]
	feed        Feed
	waiters     [resources]indexwait.List
	kinds       map[string]command
	maxLevel    int    // the highest level of kinds
	shareCopies bool   // commands of one entry share its copies of the tables
	replayUntil uint64 // owned by the applying goroutine: entries up to it may come again
	stopErr     error  // owned by the applying goroutine
}

// New returns an empty machine, at index 0 and level 1.
func New() *Machine {
	m := &Machine{kinds: catalogue, maxLevel: Level, shareCopies: true}
	m.state.Store(empty())
	m.feed.reset(0, -1)
	return m
}

func empty() *State {
	return &State{Level: 1, Access: new(access.Table), Registry: new(registry.Table), Jobs: new(jobs.Table), Audit: new(audit.Table)}
}

// View returns the state as of the last entry applied.
func (m *Machine) View() *State { return m.state.Load() }

// Feed returns the events of this machine.
func (m *Machine) Feed() *Feed { return &m.feed }

// Apply carries out one log entry, which holds any number of commands (none
// moves the index and nothing else), and answers each. A refused command
// changes nothing: it refused before it wrote, or it worked on a copy that is
// dropped. The new view is published once, before its events.
//
// An entry that was applied already is a fault of the caller, unless Restore
// was given an older snapshot: then the entries up to the present index are
// skipped, as they must be the same ones.
func (m *Machine) Apply(index uint64, commands [][]byte) []wire.Result {
	results := make([]wire.Result, len(commands))
	old := m.state.Load()
	switch {
	case m.stopErr != nil:
		return failAll(results, wire.Refuse(wire.CodeInternal, "stopped: %v", m.stopErr))
	case index <= old.Index && len(commands) == 0:
		return results
	case index <= old.Index && index <= m.replayUntil:
		return failAll(results, wire.Unknown(fmt.Errorf("entry %d was applied before", index)))
	case index <= old.Index:
		return m.fatal(index, results, fmt.Errorf("log %d: the state is at %d already", index, old.Index))
	}
	next, events, err := m.applyAll(old, index, commands, results, m.shareCopies)
	if errors.Is(err, errDirty) {
		next, events, err = m.applyAll(old, index, commands, results, false)
	}
	if err != nil {
		return m.fatal(index, results, fmt.Errorf("log %d: %w", index, err))
	}
	m.publish(next, events)
	return results
}

// errDirty asks for an entry to be carried out anew, each command on a copy of
// its own.
var errDirty = errors.New("a refused command wrote")

// applyAll carries out the commands of one entry. Its error is errDirty,
// only if share, or a reason to stop.
func (m *Machine) applyAll(old *State, index uint64, commands [][]byte, results []wire.Result, share bool) (*State, []Event, error) {
	tx := &txn{savepoint: savepoint{State: *old}, maxLevel: m.maxLevel, shareCopies: share, log: make([]Event, 0, len(commands))}
	tx.Index, tx.events = index, 0
	for i, line := range commands {
		value, err := m.applyOne(tx, line)
		if err == nil {
			results[i] = wire.Result{Value: value}
			continue
		}
		var stop *stopError
		if errors.Is(err, errDirty) || errors.As(err, &stop) {
			return nil, nil, err
		}
		results[i] = wire.Result{Err: refusal(err)}
	}
	next := tx.State
	return &next, tx.log, nil
}

// publish makes a state the present one: the view first, then its events, so
// that a reader of the events finds a view at least as new. A state that was restored
// has none that say how it became so: all readers lag, and list again.
func (m *Machine) publish(s *State, events []Event) {
	m.state.Store(s)
	if s.loaded == s.Index {
		m.feed.reset(s.Position())
	} else {
		m.feed.publish(s.Index, events)
	}
	m.wake(s)
}

// applyOne carries out one command, or leaves tx as it is.
func (m *Machine) applyOne(tx *txn, line []byte) (value any, err error) {
	e, err := parse(line)
	if err != nil {
		return nil, &stopError{err}
	}
	c, ok := m.kinds[string(e.kind)]
	if !ok {
		return nil, &stopError{errUnknownKind(e.kind)}
	}
	if level := c.levelOf(e); level > tx.Level {
		return nil, errLevel(&tx.State, e.kind, level)
	}
	if err := tx.judge(e); err != nil {
		return nil, err
	}
	before := tx.begin()
	if value, err = c.run(tx, e); err == nil {
		tx.commit()
	} else if !tx.rollback(before) {
		err = errDirty
	}
	return value, err
}

// levelOf is the level that the command needs, but for what its body does.
func (c command) levelOf(e entry) int {
	if len(e.token) > 0 {
		return max(c.level, access.Level)
	}
	return c.level
}

// judge refuses a command whose token is gone, or has not all the rights that the
// command needs. The error is a *wire.Error of code unauthorized or forbidden, or
// a reason to stop.
func (tx *txn) judge(e entry) error {
	if len(e.token) == 0 {
		return nil
	}
	id := string(e.token)
	token, ok := tx.Access.Token(id)
	if !ok {
		return errNoToken(tx.Access, id)
	}
	var missing *wire.Error
	err := e.eachNeed(func(need access.Grant) bool {
		if !token.Grants.Allow(need.Right, need.Namespace) {
			missing = wire.Refuse(wire.CodeForbidden, "token %s has no grant %s", id, need)
			missing.Needs, missing.Token = need.String(), id
		}
		return missing == nil
	})
	switch {
	case err != nil:
		return &stopError{errUndecodable(e.kind, err)}
	case missing != nil:
		return missing
	}
	return nil
}

// errNoToken says what became of a token that is not in the table.
func errNoToken(t *access.Table, id string) error {
	if gone, ok := t.Gone(id); ok {
		return wire.Refuse(wire.CodeUnauthorized, "%s", gone.Text())
	}
	return wire.Refuse(wire.CodeUnauthorized, "there is no token %.80s", id)
}

// errLevel refuses what the cluster's level does not offer yet.
func errLevel(s *State, kind []byte, level int) error {
	return wire.Refuse(wire.CodeConflict, "command %q needs level %d; the cluster is at level %d: raftctl level raise", kind, level, s.Level)
}

func errUnknownKind(kind []byte) error {
	return fmt.Errorf("unknown command %q: this binary is too old", kind)
}

// stopError means that this binary must not go on with the log.
type stopError struct{ error }

func (e *stopError) Unwrap() error { return e.error }

func (m *Machine) fatal(index uint64, results []wire.Result, err error) []wire.Result {
	m.stopErr = err
	if m.Fatal == nil {
		panic(err)
	}
	m.Fatal(index, err)
	return failAll(results, wire.Refuse(wire.CodeInternal, "stopped: %v", err))
}

func failAll(results []wire.Result, err *wire.Error) []wire.Result {
	for i := range results {
		results[i] = wire.Result{Err: err}
	}
	return results
}

func refusal(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.Refuse(wire.CodeInternal, "%v", err)
}

// Check reports whether a command may go into the log: it decodes as Apply would
// decode it and the cluster's level offers it. The error is a *wire.Error of
// code invalid, too_large or conflict. Whether the command will be refused is
// not judged.
func (m *Machine) Check(line []byte) error {
	if len(line) > wire.MaxCommand {
		return errTooLarge(len(line))
	}
	e, err := parse(line)
	if err != nil {
		return wire.Invalid("command", "%v", err)
	}
	c, ok := m.kinds[string(e.kind)]
	if !ok {
		return wire.Invalid("kind", "unknown command %q", e.kind)
	}
	if err := e.eachNeed(func(access.Grant) bool { return true }); err != nil {
		return wire.Invalid("needs", "%v", err)
	}
	level, err := c.decode(e)
	if err != nil {
		return wire.Invalid("body", "%v", err)
	}
	if level, s := max(level, c.levelOf(e)), m.View(); level > s.Level {
		return errLevel(s, e.kind, level)
	}
	return nil
}

func errUndecodable(kind []byte, err error) error {
	return fmt.Errorf("command %q: %w: this binary is too old", kind, err)
}
