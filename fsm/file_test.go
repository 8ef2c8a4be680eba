package fsm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/snapfile"
	"github.com/folkmoot/folkmoot/registry"
)

// fileOf returns the state as a file.
func fileOf(tb testing.TB, s *fsm.State) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := s.WriteFile(tb.Context(), &b, "n1", t0); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// linesOf are the lines of a file, without their ends.
func linesOf(tb testing.TB, file []byte) []string {
	tb.Helper()
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// played is a machine that has carried out a log.
func played(entries [][][]byte) *fsm.Machine {
	m := fsm.New()
	for i, lines := range entries {
		m.Apply(uint64(i+1), lines)
	}
	return m
}

// What is read of a file is what was written into it, whatever the state.
func TestAFileHasTheWholeState(t *testing.T) {
	for seed := range uint64(8) {
		view := played(generateLog(t, seed, 200)).View()
		if view.ClusterID == "" { // such a log need not found the cluster
			continue
		}
		file := fileOf(t, view)
		f, err := fsm.ReadFile(bytes.NewReader(file))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if f.Header.Index != view.Index || f.Header.Cluster != view.ClusterID || f.Header.Level != view.Level || f.Header.Term != view.Group.Term {
			t.Errorf("seed %d: the header is %+v", seed, f.Header)
		}
		want, got := linesOf(t, file), linesOf(t, fileOf(t, f.State))
		if f.Rows != len(want)-2 {
			t.Errorf("seed %d: %d rows, want %d", seed, f.Rows, len(want)-2)
		}
		for i := 1; i < len(want)-1; i++ { // the term and the sum over it differ
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("seed %d: line %d is %s, want %s", seed, i+1, got[min(i, len(got)-1)], want[i])
			}
		}
	}
}

// Who is a member, who voted and who may join belongs to one group of coordinators.
func TestAFileHasNothingOfTheGroup(t *testing.T) {
	m := fsm.New()
	apply(t, m, fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2})
	apply(t, m, registry.KindAnnounce, newest("n1"))
	apply(t, m, fsm.KindGroup, fsm.Group{Term: 4, Leader: "n1", ServerID: "n1/1", Servers: []fsm.Server{{ID: "n1", ServerID: "n1/1", Suffrage: "voter"}}})
	apply(t, m, access.KindCreateJoinToken, access.CreateJoinToken{Hash: "h", ID: "n4", Expires: t0})
	apply(t, m, registry.KindSignIn, signIn("laser", "s1"))
	for _, line := range linesOf(t, fileOf(t, m.View())) {
		for _, table := range []string{"registry.coordinator", "fsm.group", "fsm.autopilot", "access.join_token"} {
			if strings.Contains(line, table) {
				t.Errorf("the file has %s", line)
			}
		}
	}
}

// resealed is a file of these lines, with the right last one.
func resealed(t testing.TB, lines ...string) []byte {
	t.Helper()
	var h snapfile.Header
	if err := json.Unmarshal([]byte(lines[0]), &h); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := snapfile.NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		var row struct {
			T   string
			Row json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if err := w.Row(row.T, row.Row); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A file whose lines are all in order may still be none of a state.
func TestAFileOfNoStateIsRefused(t *testing.T) {
	lines := linesOf(t, fileOf(t, grown(t).View()))
	lines = lines[:len(lines)-1]
	with := func(at int, line string) []string {
		return append(append(append([]string{}, lines[:at]...), line), lines[at:]...)
	}
	find := func(table string) int {
		for i, line := range lines {
			if strings.HasPrefix(line, `{"t":"`+table+`"`) {
				return i
			}
		}
		t.Fatalf("no row of %s in %s", table, lines)
		return 0
	}
	part := find("jobs.part")
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"an unknown table":      {with(1, `{"t":"jobs.unheard","row":{}}`), `line 2: unknown table "jobs.unheard": this binary is too old`},
		"an unknown field":      {with(1, `{"t":"registry.session","row":{"colour":"red"}}`), "line 2: table registry.session"},
		"a row twice":           {with(find("registry.session"), lines[find("registry.session")]), "is there twice"},
		"a member":              {with(1, `{"t":"registry.coordinator","row":{"id":"n1","server_id":"n1/1","namespace":"n1","peer_addr":"a","level":1,"since":"2026-12-01T00:00:00Z","index":3}}`), "line 2: table registry.coordinator: it belongs to one group"},
		"a newer level":         {append([]string{strings.Replace(lines[0], `"level":1`, `"level":99`, 1)}, lines[1:]...), fmt.Sprintf("line 1: level 99: this binary knows levels 1 to %d", fsm.Level)},
		"a part without a job":  {with(part, `{"t":"jobs.part","row":{"job":"j0","part":0,"state":"done","attempt":1}}`), fmt.Sprintf("line %d: table jobs.part: part 0 of a job", part+1)},
		"counts of other parts": {append(append([]string{}, lines[:part]...), lines[part+1:]...), "has 1 rows, want one for each of 2 parts"},
	} {
		_, err := fsm.ReadFile(bytes.NewReader(resealed(t, c.lines...)))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := fsm.ReadFile(bytes.NewReader(resealed(t, lines...))); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}

// What version 1 wrote, every later binary reads to the same rows. The file is never written again.
func TestFileOfVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/file-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fsm.ReadFile(&b)
	if err != nil {
		t.Fatal(err)
	}
	want := snapfile.Header{
		Format: "folkmoot-snapshot", Version: 1, Cluster: "c1", Index: f.Header.Index, Term: 3, Level: 2,
		Created: time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC), Coordinator: "n1",
	}
	if f.Header != want {
		t.Errorf("the header is %+v, want %+v", f.Header, want)
	}
	if got := f.State.Fingerprint(); got != "984dac8cc638cd1dbad5b266e73a6ed9bb079d19364c38e7016eb50dc9f41e58" {
		t.Errorf("the rows have the fingerprint %s", got)
	}
}

func FuzzReadFile(f *testing.F) {
	for seed := range uint64(3) {
		if view := played(generateLog(f, seed, 50)).View(); view.ClusterID != "" {
			lines := linesOf(f, fileOf(f, view))
			f.Add(strings.Join(lines[:len(lines)-1], "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		if len(lines) > 200 || !json.Valid([]byte(lines[0])) {
			return
		}
		var b bytes.Buffer
		w, err := snapfile.NewWriter(&b, snapfile.Header{Cluster: "c1", Level: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines[1:] {
			var row struct {
				T   string
				Row json.RawMessage
			}
			if json.Unmarshal([]byte(line), &row) != nil || row.Row == nil {
				return
			}
			if err := w.Row(row.T, row.Row); err != nil {
				return
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := fsm.ReadFile(&b)
		if err != nil {
			return
		}
		if err := got.State.Verify(); err != nil {
			t.Errorf("a file was taken whose rows contradict each other: %v", err)
		}
	})
}

// A file that nobody wants any more is written no further.
func TestAFileIsWrittenUntilItsContextEnds(t *testing.T) {
	gone := errors.New("the token was revoked")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	var b bytes.Buffer
	if err := cluster(t, "c1").View().WriteFile(ctx, &b, "n1", t0); !errors.Is(err, gone) || b.Len() != 0 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}
