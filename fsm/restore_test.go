package fsm_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
)

// grown is a machine with rows of all kinds.
func grown(tb testing.TB) *fsm.Machine {
	tb.Helper()
	m := founded(tb)
	apply(tb, m, fsm.KindFound, fsm.Found{Cluster: "c1"})
	for _, n := range []string{"w", "laser", "camera", "stage"} {
		apply(tb, m, registry.KindSignIn, signIn(n, "s-"+n))
	}
	apply(tb, m, registry.KindSignOut, registry.SignOut{FullName: "n1.camera", Session: "s-camera"})
	apply(tb, m, registry.KindRemove, registry.Remove{FullName: "n1.stage", Reason: "a ghost"})
	apply(tb, m, jobs.KindSubmit, jobs.Submit{ID: "j1", Spec: spec(tb)})
	apply(tb, m, jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{
		{Job: "j1", Part: 0, Attempt: 1, Worker: "n1.w", Session: "s-w", Home: "n1"},
		{Job: "j1", Part: 1, Attempt: 1, Worker: "n1.w", Session: "s-w", Home: "n1"},
	}})
	apply(tb, m, jobs.KindFinish, jobs.Finish{Parts: []jobs.PartDone{
		{Ref: jobs.Ref{Job: "j1", Part: 1, Attempt: 1, Session: "s-w"}, Error: "boom"},
	}})
	apply(tb, m, jobs.KindElapse, jobs.Elapse{By: time.Minute})
	return m
}

// sealed puts the right trailer under the lines of a snapshot.
func sealed(lines ...string) []byte {
	all := strings.Join(lines, "\n") + "\n"
	sum := sha256.Sum256([]byte(all))
	return fmt.Appendf(nil, "%s{\"rows\":%d,\"sha256\":\"%s\"}\n", all, len(lines)-1, hex.EncodeToString(sum[:]))
}

// unsealed are the lines of a snapshot without its trailer.
func unsealed(snap []byte) []string {
	lines := strings.Split(strings.TrimSuffix(string(snap), "\n"), "\n")
	return lines[:len(lines)-1]
}

// rejects holds that a bad snapshot is refused and changes nothing.
func rejects(tb testing.TB, m *fsm.Machine, r io.Reader) string {
	tb.Helper()
	view := m.View()
	index, seq := m.Feed().Last()
	err := m.Restore(r)
	if err == nil {
		return ""
	}
	if m.View() != view {
		tb.Errorf("the snapshot is refused (%v), yet the view changed", err)
	}
	if i, s := m.Feed().Last(); i != index || s != seq {
		tb.Errorf("the snapshot is refused (%v), yet the feed went to (%d, %d)", err, i, s)
	}
	return err.Error()
}

func TestSealedIsWhatIsWritten(t *testing.T) {
	snap := snapshot(t, grown(t))
	if got := sealed(unsealed(snap)...); !bytes.Equal(got, snap) {
		t.Errorf("got  %s\nwant %s", got, snap)
	}
}

// Cut anywhere, with any byte changed, or read from a broken disk: refused.
func TestDamagedSnapshotsAreRefused(t *testing.T) {
	snap := snapshot(t, grown(t))
	m := founded(t)
	const step = 13 // a prime: all of them take a minute
	for n := 0; n < len(snap); n += step {
		why := rejects(t, m, bytes.NewReader(snap[:n]))
		if n > 0 && snap[n-1] != '\n' && !strings.Contains(why, "cut short") || why == "" {
			t.Fatalf("the first %d of %d bytes: %q, want it cut short", n, len(snap), why)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < len(snap); i += step {
		bad := bytes.Clone(snap)
		bad[i] ^= 1 << r.IntN(8)
		if why := rejects(t, m, bytes.NewReader(bad)); !strings.HasPrefix(why, "snapshot line ") {
			t.Fatalf("byte %d changed from %q to %q: %q, want it refused with the line", i, snap[i], bad[i], why)
		}
	}
	broken := io.MultiReader(bytes.NewReader(snap[:500]), iotest.ErrReader(errors.New("the disk is broken")))
	if why := rejects(t, m, broken); !strings.Contains(why, "the disk is broken") {
		t.Errorf("a broken disk: %q", why)
	}
	if err := m.Restore(iotest.OneByteReader(bytes.NewReader(snap))); err != nil {
		t.Errorf("the good one after all of them, byte by byte: %v", err)
	}
}

// Rows that no cluster writes are refused even when the sum is right.
func TestNonsenseSnapshotsAreRefused(t *testing.T) {
	snap := snapshot(t, grown(t))
	lines := unsealed(snap)
	row := func(table string) int {
		for i, l := range lines {
			if strings.HasPrefix(l, `{"t":"`+table+`"`) {
				return i
			}
		}
		t.Fatalf("no row of %s in\n%s", table, snap)
		return 0
	}
	swap := func(old, new string) []byte {
		s := strings.Join(lines, "\n")
		if !strings.Contains(s, old) {
			t.Fatalf("no %s in\n%s", old, snap)
		}
		return sealed(strings.Split(strings.Replace(s, old, new, 1), "\n")...)
	}
	twice := func(table string) []byte {
		i := row(table)
		return sealed(append(append(append([]string{}, lines[:i+1]...), lines[i]), lines[i+1:]...)...)
	}
	for _, c := range []struct {
		what string
		snap []byte
		want string
	}{
		{"a format of tomorrow", swap(`"v":1`, `"v":2`), "line 1: a snapshot of format 2"},
		{"a level of tomorrow", swap(`"level":1`, `"level":9`), "line 1: level 9"},
		{"a header of tomorrow", swap(`{"v":1`, `{"aura":1,"v":1`), "line 1: not the header"},
		{"a table of tomorrow", swap(`"t":"registry.session"`, `"t":"registry.aura"`), `unknown table "registry.aura": this binary is too old`},
		{"a field of tomorrow", swap(`"row":{`, `"row":{"aura":1,`), `line 2: table registry.coordinator: json: unknown field "aura"`},
		{"two of a coordinator", twice("registry.coordinator"), "twice"},
		{"two of a session", twice("registry.session"), "twice"},
		{"two of an ended session", twice("registry.ended"), "twice"},
		{"two of a removed session", twice("registry.removed"), "twice"},
		{"two of a job", twice("jobs.job"), "out of order"},
		{"two of a part", twice("jobs.part"), "out of order"},
		{"two clocks", twice("jobs.clock"), "1m0s have passed, after 1m0s"},
		{"two of a worker", twice("jobs.worker"), "out of order"},
		{"a name that is not its own", swap(`"name":"laser"`, `"name":"saler"`), "n1.laser is not n1.saler"},
		{"a part of no job", sealed(append(append([]string{}, lines[:row("jobs.job")]...), lines[row("jobs.part"):]...)...), "that is not there"},
		{"more behind", append(bytes.Clone(snap), '\n'), "more after the trailer"},
		{"a wrong count", bytes.Replace(snap, []byte(`{"rows":`), []byte(`{"rows":1`), 1), "the trailer counts"},
		{"a line without end", append([]byte(lines[0]+"\n"), bytes.Repeat([]byte("x"), 5<<20)...), "longer than"},
		{"nothing", nil, "line 1: the snapshot is cut short"},
	} {
		m := founded(t)
		if why := rejects(t, m, bytes.NewReader(c.snap)); !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, want %q", c.what, why, c.want)
		}
	}
	other := founded(t)
	apply(t, other, fsm.KindFound, fsm.Found{Cluster: "c2"})
	if why := rejects(t, other, bytes.NewReader(snap)); !strings.Contains(why, `of cluster "c1", this is cluster c2`) {
		t.Errorf("a snapshot of another cluster: %q", why)
	}
}
