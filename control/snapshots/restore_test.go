package snapshots_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// fakeLog is a log whose leader is lost when the test says so.
type fakeLog struct {
	control.Replica
	machine *fsm.Machine
	// answer stands between a command and its answer, if given: apply carries it out.
	answer func(kind string, apply func() error) error
	kinds  []string // of all commands that were proposed
}

func (l *fakeLog) Ready(context.Context, raftnode.Consistency, uint64) (raftnode.Freshness, error) {
	return raftnode.Freshness{Consistency: raftnode.Strict}, nil
}

func (l *fakeLog) Propose(ctx context.Context, command []byte) (index uint64, value any, err error) {
	apply := func() error {
		index = l.machine.View().Index + 1
		r := l.machine.Apply(index, [][]byte{command})[0]
		if r.Err != nil {
			return r.Err
		}
		value = r.Value
		return nil
	}
	var line struct{ Kind string }
	if err := json.Unmarshal(command, &line); err != nil {
		return 0, nil, err
	}
	kind := line.Kind
	l.kinds = append(l.kinds, kind)
	if l.answer == nil {
		err = apply()
	} else {
		err = l.answer(kind, apply)
	}
	if err == nil {
		err = ctx.Err()
	}
	return index, value, err
}

// do carries out a command that is not refused.
func do(t *testing.T, m *fsm.Machine, kind string, body any) {
	t.Helper()
	line, err := fsm.Encode(kind, time.Now(), fsm.Author{By: "test"}, body)
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Apply(m.View().Index+1, [][]byte{line}); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
}

// cluster is one coordinator of a cluster of level 2.
type cluster struct {
	*snapshots.Snapshots
	core *control.Core
	log  *fakeLog
	dir  string
}

func start(t *testing.T, bounds control.Bounds) *cluster {
	t.Helper()
	self := registry.Coordinator{ID: "n1", ServerID: "n1/1", Namespace: "n1", PeerAddr: "n1:7300", HTTPAddr: "n1:7380", Level: 2, Version: "test"}
	m := fsm.New()
	do(t, m, fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2})
	do(t, m, registry.KindAnnounce, registry.Announce{Coordinator: self})
	c := &cluster{log: &fakeLog{machine: m}, dir: t.TempDir()}
	core, err := control.New(control.Config{Machine: m, Replica: c.log, Self: self, Bounds: bounds})
	if err != nil {
		t.Fatal(err)
	}
	c.core, c.Snapshots = core, snapshots.New(core, c.dir)
	return c
}

// restore restores a file.
func (c *cluster) restore(t *testing.T, file []byte, to snapshots.Target) (wire.Restored, error) {
	t.Helper()
	done, err := c.Restore(t.Context(), control.Principal{}, to, func(context.Context) (io.Reader, error) { return bytes.NewReader(file), nil })
	if left, _ := filepath.Glob(filepath.Join(c.dir, "*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	return done, err
}

// fileOf is a file of a cluster that has these tokens, or one.
func fileOf(t *testing.T, id string, tokens ...string) (file []byte, uncompressed int64) {
	t.Helper()
	m := fsm.New()
	do(t, m, fsm.KindFound, fsm.Found{Cluster: id, Level: 2})
	if tokens == nil {
		tokens = []string{"t_1"}
	}
	for _, token := range tokens {
		do(t, m, access.KindCreate, access.Create{ID: token, Hash: registry.HashSecret(token), Grants: access.Grants{{Right: access.Admin}}})
	}
	var b bytes.Buffer
	if err := m.View().WriteFile(t.Context(), &b, "n1", time.Now()); err != nil {
		t.Fatal(err)
	}
	f, err := fsm.ReadFile(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), f.Bytes
}

// What is too large for the memory of the coordinators is refused before anything of it is proposed.
func TestAFileThatIsTooLarge(t *testing.T) {
	file, bytes := fileOf(t, "c1")
	c := start(t, control.Bounds{RestoreBytes: bytes - 1})
	if _, err := c.restore(t, file, snapshots.Target{Cluster: "c1"}); wire.CodeOf(err) != wire.CodeTooLarge {
		t.Errorf("a byte too much: %v", err)
	}
	if len(c.log.kinds) > 0 {
		t.Errorf("%v were proposed", c.log.kinds)
	}
	c = start(t, control.Bounds{RestoreBytes: bytes})
	done, err := c.restore(t, file, snapshots.Target{Cluster: "c1"})
	if err != nil || done.Rows != 1 || c.log.machine.View().Access.Len() != 1 {
		t.Errorf("what just fits: %+v, %v", done, err)
	}
}

// One file is taken in at a time, and no longer than who sends it may do that.
func TestOneFileAtATime(t *testing.T) {
	file, _ := fileOf(t, "c1")
	c := start(t, control.Bounds{})
	to := snapshots.Target{Cluster: "c1"}
	gone := wire.Refuse(wire.CodeUnauthorized, "the token was revoked")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := c.Restore(ctx, control.Principal{}, to, func(reading context.Context) (io.Reader, error) {
		if _, err := c.Restore(t.Context(), control.Principal{}, to, nil); wire.CodeOf(err) != wire.CodeBusy {
			t.Errorf("a second one meanwhile: %v", err)
		}
		cancel(gone)
		return readerFunc(func([]byte) (int, error) { return 0, context.Cause(reading) }), nil
	})
	if wire.CodeOf(err) != wire.CodeUnauthorized {
		t.Errorf("ended with %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, "*")); len(left) > 0 || len(c.log.kinds) > 0 {
		t.Errorf("%v is left, %v was proposed", left, c.log.kinds)
	}
	if _, err := c.restore(t, file, to); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The tokens of the file are asked for from the moment on that it is restored, also from who restored it while none was
// asked for: what came of it is told all the same.
func TestTheOneWhoBringsTheTokensIsToldOfIt(t *testing.T) {
	file, _ := fileOf(t, "c2")
	c := start(t, control.Bounds{})
	c.log.answer = func(_ string, apply func() error) error {
		err := apply()
		c.core.Release() // as what follows the tokens does
		return err
	}
	done, err := c.restore(t, file, snapshots.Target{Cluster: "c1", Foreign: true})
	if err != nil || c.log.machine.View().Access.Len() != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if c.core.Authorize(control.Principal{}, control.Admin, control.Thing{}) == nil {
		t.Error("it asked for no token behind it: take another file")
	}
}

// Who may not do it any more by the last step does not do it.
func TestARightThatEndsBeforeTheLastStep(t *testing.T) {
	file, _ := fileOf(t, "c1")
	c := start(t, control.Bounds{})
	c.log.answer = func(kind string, apply func() error) error {
		err := apply()
		if kind == fsm.KindRestoreChunk {
			do(t, c.log.machine, access.KindCreate, access.Create{ID: "t_2", Hash: registry.HashSecret("token 2"), Grants: access.Grants{{Right: access.Admin}}})
		}
		return err
	}
	_, err := c.restore(t, file, snapshots.Target{Cluster: "c1"})
	if _, under := c.log.machine.View().Restoring(); wire.CodeOf(err) != wire.CodeUnauthorized || under || slices.Contains(c.log.kinds, fsm.KindCommitRestore) {
		t.Errorf("%v, under way %v, %v", err, under, c.log.kinds)
	}
}

// Whatever becomes of a step, what is told is true: restored, not restored, or not known; and what is certainly not
// restored is not left in the state.
func TestWhatIsToldOfARestore(t *testing.T) {
	var (
		unknown  = errors.New("leadership lost")
		noLeader = wire.NotTried("no leader")
		refused  = wire.Refuse(wire.CodeConflict, "no")
		internal = wire.Refuse(wire.CodeInternal, "stopped")
	)
	// what is a try: carried out or not, and what is answered.
	type what struct {
		done bool
		err  error
	}
	for name, c := range map[string]struct {
		kind     string // of the step of which the first tries end so
		tries    []what
		forever  bool // the last of them again and again
		code     wire.Code
		restored bool
		left     bool // in the state
	}{
		"all is well":                                {kind: fsm.KindCommitRestore, restored: true},
		"the begin: refused":                         {kind: fsm.KindBeginRestore, tries: []what{{false, refused}}, code: wire.CodeConflict},
		"the begin: never tried":                     {kind: fsm.KindBeginRestore, tries: []what{{false, noLeader}}, forever: true, code: wire.CodeUnavailable},
		"the begin: unknown, then done":              {kind: fsm.KindBeginRestore, tries: []what{{true, unknown}}, restored: true},
		"the begin: unknown for ever":                {kind: fsm.KindBeginRestore, tries: []what{{true, unknown}}, forever: true, code: wire.CodeUnavailable},
		"the begin: unknown, then refused":           {kind: fsm.KindBeginRestore, tries: []what{{true, unknown}, {false, refused}}, code: wire.CodeConflict},
		"a chunk: refused":                           {kind: fsm.KindRestoreChunk, tries: []what{{false, refused}}, code: wire.CodeConflict},
		"a chunk: unknown, then done":                {kind: fsm.KindRestoreChunk, tries: []what{{true, unknown}}, restored: true},
		"a chunk: unknown for ever":                  {kind: fsm.KindRestoreChunk, tries: []what{{true, unknown}}, forever: true, code: wire.CodeUnavailable},
		"the commit: refused":                        {kind: fsm.KindCommitRestore, tries: []what{{false, refused}}, code: wire.CodeConflict},
		"the commit: never tried":                    {kind: fsm.KindCommitRestore, tries: []what{{false, noLeader}}, forever: true, code: wire.CodeUnavailable},
		"the commit: never tried, then done":         {kind: fsm.KindCommitRestore, tries: []what{{false, noLeader}}, restored: true},
		"the commit: unknown, and done":              {kind: fsm.KindCommitRestore, tries: []what{{true, unknown}}, restored: true},
		"the commit: unknown, and not done":          {kind: fsm.KindCommitRestore, tries: []what{{false, unknown}}, restored: true},
		"the commit: unknown, then refused":          {kind: fsm.KindCommitRestore, tries: []what{{true, unknown}, {false, refused}}, code: wire.CodeUnknown, restored: true},
		"the commit: not done, then refused":         {kind: fsm.KindCommitRestore, tries: []what{{false, unknown}, {false, refused}}, code: wire.CodeUnknown, left: true},
		"the commit: unknown, then never tried":      {kind: fsm.KindCommitRestore, tries: []what{{true, unknown}, {false, noLeader}}, forever: true, code: wire.CodeUnknown, restored: true},
		"the commit: unknown for ever":               {kind: fsm.KindCommitRestore, tries: []what{{true, unknown}}, forever: true, code: wire.CodeUnknown, restored: true},
		"the commit: here the state machine stopped": {kind: fsm.KindCommitRestore, tries: []what{{true, internal}}, code: wire.CodeUnknown, restored: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file, _ := fileOf(t, "c1")
				n := start(t, control.Bounds{})
				n.log.answer = func(kind string, apply func() error) error {
					if kind != c.kind || len(c.tries) == 0 {
						return apply()
					}
					now := c.tries[0]
					if len(c.tries) > 1 || !c.forever {
						c.tries = c.tries[1:]
					}
					if now.done {
						if err := apply(); err != nil {
							t.Error(err)
						}
					}
					return now.err
				}
				done, err := n.restore(t, file, snapshots.Target{Cluster: "c1"})
				if wire.CodeOf(err) != c.code || err == nil && done.Rows != 1 {
					t.Errorf("%+v, %v, want %q", done, err, c.code)
				}
				view := n.log.machine.View()
				if restored := view.Access.Len() == 1; restored != c.restored {
					t.Errorf("restored: %v, want %v", restored, c.restored)
				}
				if _, left := view.Restoring(); left != c.left {
					t.Errorf("left in the state: %v, want %v", left, c.left)
				}
			})
		})
	}
}

// A repeat under the same key is the same restore: it goes on where the first one ended, and what is restored is not
// restored again. Another file, or another key, is another one.
func TestARepeatIsTheSameRestore(t *testing.T) {
	file, _ := fileOf(t, "c1", []string{}...) // none, so that none is asked for behind it
	c := start(t, control.Bounds{})
	to := snapshots.Target{Cluster: "c1", Key: "0123456789abcdef"}
	lost := true
	c.log.answer = func(kind string, apply func() error) error {
		if lost && kind == fsm.KindDropRestore {
			return wire.NotTried("no leader")
		}
		if err := apply(); err != nil {
			return err
		}
		if lost && kind == fsm.KindRestoreChunk {
			return wire.Refuse(wire.CodeInternal, "stopped")
		}
		return nil
	}
	if _, err := c.restore(t, file, to); err == nil {
		t.Fatal("it was to be lost")
	}
	lost, c.log.kinds = false, nil
	first, err := c.restore(t, file, to)
	if err != nil || !slices.Equal(c.log.kinds, []string{fsm.KindBeginRestore, fsm.KindCommitRestore}) {
		t.Errorf("the repeat of what was lost: %+v, %v, by %v", first, err, c.log.kinds)
	}
	do(t, c.log.machine, registry.KindSignIn, registry.SignIn{Name: "laser", Namespace: "n1", Session: "s1", SecretHash: "h", Home: "n1", Kind: "rest", Lease: time.Minute})
	again, err := c.restore(t, file, to)
	if err != nil || again != first || c.log.machine.View().Registry.Len() != 1 {
		t.Errorf("the repeat of what was done: %+v, %v, want %+v and the session of after it", again, err, first)
	}
	for name, change := range map[string]func(*snapshots.Target){
		"another key": func(to *snapshots.Target) { to.Key = "fedcba9876543210" },
		"no key":      func(to *snapshots.Target) { to.Key = "" },
		"foreign":     func(to *snapshots.Target) { to.Foreign = true },
	} {
		other := to
		change(&other)
		if done, err := c.restore(t, file, other); err != nil || done.Index <= first.Index {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
	to.Key = "short"
	if _, err := c.restore(t, file, to); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("a key that is none: %v", err)
	}
}
