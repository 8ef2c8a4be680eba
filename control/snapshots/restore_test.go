package snapshots_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"testing"
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
	log *fakeLog
	dir string
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
	c.Snapshots = snapshots.New(core, c.dir)
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

// fileOf is a file of a cluster that has a token.
func fileOf(t *testing.T, id string) (file []byte, uncompressed int64) {
	t.Helper()
	m := fsm.New()
	do(t, m, fsm.KindFound, fsm.Found{Cluster: id, Level: 2})
	do(t, m, access.KindCreate, access.Create{ID: "t_1", Hash: registry.HashSecret("token 1"), Grants: access.Grants{{Right: access.Admin}}})
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
