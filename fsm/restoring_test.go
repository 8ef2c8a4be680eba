package fsm_test

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

//go:embed testdata/file-v1.snap.gz
var fixed []byte

// fixedFile is testdata/file-v1.jsonl, compressed: of cluster c1, index 17, level 2.
func fixedFile() []byte { return bytes.Clone(fixed) }

// fixedBytes is how many bytes it has, uncompressed.
const fixedBytes = 2689

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func begin(file []byte, id string) fsm.BeginRestore {
	return fsm.BeginRestore{ID: id, Cluster: "c1", Index: 17, Level: 2, Size: int64(len(file)), Bytes: fixedBytes, SHA256: sumOf(file)}
}

// restore puts a file into the state, in chunks of so many bytes.
func restore(tb testing.TB, m *fsm.Machine, file []byte, c fsm.BeginRestore, size int) fsm.Restored {
	tb.Helper()
	apply(tb, m, fsm.KindBeginRestore, c)
	for at := 0; at < len(file); at += size {
		apply(tb, m, fsm.KindRestoreChunk, fsm.RestoreChunk{ID: c.ID, At: int64(at), Data: file[at:min(at+size, len(file))]})
	}
	return apply(tb, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: c.ID}).(fsm.Restored)
}

// refused carries out a command that must be refused and change nothing.
func refused(tb testing.TB, m *fsm.Machine, kind string, body any, code wire.Code, words string) {
	tb.Helper()
	before := m.View().Fingerprint()
	r := m.Apply(m.View().Index+1, [][]byte{encode(tb, kind, t0, body)})
	if r[0].Err == nil || r[0].Err.Code != code || !strings.Contains(r[0].Err.Message, words) {
		tb.Errorf("%s %+v: %v, want %s with %q", kind, body, r[0].Err, code, words)
	}
	if m.View().Fingerprint() != before {
		tb.Errorf("%s %+v changed the state", kind, body)
	}
}

// cluster is one of level 2 with a member, a session, a job at work, and no token.
func cluster(tb testing.TB, id string) *fsm.Machine {
	tb.Helper()
	m := fsm.New()
	apply(tb, m, fsm.KindFound, fsm.Found{Cluster: id, Level: 2})
	apply(tb, m, registry.KindAnnounce, newest("n1"))
	apply(tb, m, fsm.KindGroup, fsm.Group{Term: 7, Leader: "n1", ServerID: "n1/1"})
	apply(tb, m, registry.KindSignIn, signIn("own", "s-own"))
	apply(tb, m, jobs.KindSubmit, jobs.Submit{ID: "j0", Spec: spec(tb)})
	for m.View().Index < 30 {
		m.Apply(m.View().Index+1, nil)
	}
	return m
}

// The rows of the file are in place of those that were there; what belongs to the group stays.
func TestRestoreReplacesTheState(t *testing.T) {
	m := cluster(t, "c1")
	file := fixedFile()
	index, seq := m.Feed().Last()
	done := restore(t, m, file, begin(file, "r1"), 100)
	view := m.View()
	if err := view.Verify(); err != nil {
		t.Fatal(err)
	}
	if done.Index != view.Index || done.From != 17 || view.ClusterID != "c1" || view.Group.Term != 7 || view.Level != 2 {
		t.Errorf("restored %+v into %+v", done, view)
	}
	if _, still := view.Restoring(); still {
		t.Error("the chunks are still there")
	}
	if _, ok := view.Jobs.Job("j0"); ok {
		t.Error("a job of before is still there")
	}
	j, ok := view.Jobs.Job("j1")
	if !ok || j.Counts.Assigned != 0 || j.Counts.Running != 0 || j.Namespace != "lab" {
		t.Errorf("the job of the file is %+v, %v", j, ok)
	}
	if p, _ := view.Jobs.Part("j1", 0); p.State != jobs.Waiting || p.Session != "" || p.Attempt != 1 || p.Losses != 0 {
		t.Errorf("the part that was at work is %+v", p)
	}
	if view.Registry.Len() != 0 {
		t.Errorf("%d sessions live", view.Registry.Len())
	}
	for _, id := range []string{"s-own", "s-w", "s-laser"} { // of before, and of the file
		if e, ok := view.Registry.Ended(id); !ok || e.Reason != "restored" || !e.Final {
			t.Errorf("session %s ended as %+v, %v", id, e, ok)
		}
	}
	if _, ok := view.Registry.Coordinator("n1"); !ok {
		t.Error("the member is gone")
	}
	if _, ok := view.Access.Token("t_0"); !ok || view.Access.Len() != 2 {
		t.Errorf("%d tokens: into a cluster without any those of the file come", view.Access.Len())
	}
	if _, gone := view.Access.Gone("t_2"); !gone {
		t.Error("what was revoked in the file is not known as revoked")
	}
	if _, lagged := m.Feed().Since(index, seq); !lagged {
		t.Error("a watcher goes on as if nothing had happened")
	}
	if last, _ := m.Feed().Last(); last != view.Index {
		t.Errorf("the feed is at %d, the view at %d", last, view.Index)
	}
	for r := fsm.All; r <= fsm.Jobs; r++ {
		if got := view.Changed(r); got != view.Index {
			t.Errorf("resource %d changed at %d, want %d", r, got, view.Index)
		}
	}
}

// Secrets of before open nothing, attempts of before count for nothing, and signing in anew works.
func TestRestoreFencesWhatWasBefore(t *testing.T) {
	m := cluster(t, "c1")
	file := fixedFile()
	restore(t, m, file, begin(file, "r1"), 1000)
	for _, of := range []struct{ name, session string }{{"own", "s-own"}, {"w", "s-w"}} {
		c := signIn(of.name, of.session)
		c.TakeOver = true
		refused(t, m, registry.KindSignIn, c, wire.CodeConflict, "restored")
	}
	late := jobs.Finish{Parts: []jobs.PartDone{{Ref: jobs.Ref{Job: "j1", Part: 0, Attempt: 1, Session: "s-w"}, OK: true}}}
	verdicts := apply(t, m, jobs.KindFinish, late).([]jobs.Verdict)
	if verdicts[0].Code != wire.CodeConflict {
		t.Errorf("the report of an attempt of before: %+v", verdicts[0])
	}
	apply(t, m, registry.KindSignIn, signIn("w", "s-new"))
	apply(t, m, jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{{Job: "j1", Part: 0, Attempt: 2, Worker: "n1.w", Session: "s-new", Home: "n1"}}})
	if p, _ := m.View().Jobs.Part("j1", 0); p.State != jobs.Assigned {
		t.Errorf("the part goes on as %+v", p)
	}
}

// The tokens of this cluster stay, so that what was revoked stays so: also if the file is only said to be of another one.
func TestRestoreAndTokens(t *testing.T) {
	for _, of := range []struct {
		cluster string // that the file of c1 is restored into
		foreign bool
		want    []string // t_1 was revoked here
	}{{"c1", false, []string{"t_mine"}}, {"c1", true, []string{"t_mine"}}, {"c9", true, []string{"t_0", "t_mine"}}} {
		m := cluster(t, of.cluster)
		file := fixedFile()
		token := func(id, secret string) {
			apply(t, m, access.KindCreate, access.Create{ID: id, Hash: registry.HashSecret(secret), Grants: access.Grants{{Right: access.Admin}}})
		}
		token("t_mine", "mine")
		token("t_1", "token 1")
		apply(t, m, access.KindRevoke, access.Revoke{ID: "t_1"})
		c := begin(file, "r1")
		c.Foreign = of.foreign
		restore(t, m, file, c, 1000)
		var ids []string
		for k := range m.View().Access.Tokens() {
			ids = append(ids, k.ID)
		}
		if !slices.Equal(ids, of.want) {
			t.Errorf("into %s, foreign %v: tokens %q, want %q", of.cluster, of.foreign, ids, of.want)
		}
		if err := m.View().Verify(); err != nil {
			t.Error(err)
		}
	}
}

// A file may be of a log that is far ahead: no index of its rows is beyond that of the state.
func TestRestoreOfAFileThatIsAhead(t *testing.T) {
	source := played(generateLog(t, 3, 400)).View()
	if source.ClusterID == "" || source.Jobs.Len() == 0 {
		t.Fatal("take another seed")
	}
	file := fileOf(t, source)
	read, err := fsm.ReadFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	m := fsm.New()
	apply(t, m, fsm.KindFound, fsm.Found{Cluster: "c9", Level: 2})
	apply(t, m, registry.KindAnnounce, newest("n1"))
	for m.View().Index < source.Index/2 { // so that some rows are of an index that this log has, less
		m.Apply(m.View().Index+1, nil)
	}
	c := fsm.BeginRestore{ID: "r1", Cluster: source.ClusterID, Index: source.Index, Level: source.Level, Size: int64(len(file)), Bytes: read.Bytes, SHA256: sumOf(file), Foreign: true}
	restore(t, m, file, c, 64<<10)
	view := m.View()
	if err := view.Verify(); err != nil {
		t.Fatal(err)
	}
	if view.Index >= source.Index || view.ClusterID != "c9" || view.Jobs.Len() != source.Jobs.Len() {
		t.Fatalf("restored at %d from %d, %d jobs", view.Index, source.Index, view.Jobs.Len())
	}
	for j := range view.Jobs.Jobs() {
		if j.SubmitIndex > view.Index || j.EndIndex > view.Index || j.Index > view.Index || j.SubmitIndex == 0 {
			t.Errorf("job %s has an index beyond %d: %+v", j.ID, view.Index, j)
		}
	}
	for k := range view.Access.Tokens() {
		if k.Index > view.Index {
			t.Errorf("token %s has index %d beyond %d", k.ID, k.Index, view.Index)
		}
	}
}

// Whoever comes later, by a snapshot at any place of the way, comes to the same state.
func TestReplicasRestoreAlike(t *testing.T) {
	entries := restoring(t)
	m := fsm.New()
	for i, lines := range entries {
		m.Apply(uint64(i+1), lines)
		other := fsm.New()
		if err := other.Restore(bytes.NewReader(snapshot(t, m))); err != nil {
			t.Fatalf("after entry %d: %v", i+1, err)
		}
		alone := fsm.New()
		alone.CopyPerCommand()
		for n, lines := range entries {
			if n > i {
				other.Apply(uint64(n+1), lines)
			}
			if i == len(entries)-1 {
				alone.Apply(uint64(n+1), lines)
			}
		}
		if want := fingerprints(entries)[len(entries)-1]; other.View().Fingerprint() != want || i == len(entries)-1 && alone.View().Fingerprint() != want {
			t.Fatalf("by a snapshot after entry %d the end is another", i+1)
		}
	}
	if _, ok := m.View().Access.Token("t_1"); !ok {
		t.Error("the file of another cluster was not restored")
	}
}

// What is not whole, not what was announced, or not for this cluster is refused, and nothing is lost.
func TestRestoreIsRefused(t *testing.T) {
	file := fixedFile()
	m := cluster(t, "c1")
	with := func(change func(*fsm.BeginRestore)) fsm.BeginRestore {
		c := begin(file, "r1")
		change(&c)
		return c
	}
	refused(t, m, fsm.KindBeginRestore, with(func(c *fsm.BeginRestore) { c.Cluster = "c2" }), wire.CodeConflict, "of cluster c2, this is cluster c1")
	refused(t, m, fsm.KindBeginRestore, with(func(c *fsm.BeginRestore) { c.Level = 3 }), wire.CodeConflict, "raftctl level raise")
	refused(t, m, fsm.KindBeginRestore, with(func(c *fsm.BeginRestore) { c.Size = 5 << 30 }), wire.CodeInvalid, "bytes")
	refused(t, m, fsm.KindBeginRestore, with(func(c *fsm.BeginRestore) { c.Bytes = 0 }), wire.CodeInvalid, "uncompressed")
	refused(t, m, fsm.KindBeginRestore, with(func(c *fsm.BeginRestore) { c.Bytes = 16<<30 + 1 }), wire.CodeInvalid, "uncompressed")
	refused(t, m, fsm.KindBeginRestore, with(func(c *fsm.BeginRestore) { c.SHA256 = "" }), wire.CodeInvalid, "a sum")
	refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: "r1"}, wire.CodeConflict, "look at the state")
	refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{}, wire.CodeConflict, "look at the state")
	refused(t, m, fsm.KindRestoreChunk, fsm.RestoreChunk{ID: "r1", Data: file}, wire.CodeConflict, "look at the state")
	apply(t, m, fsm.KindBeginRestore, begin(file, "r1"))
	chunk := func(at int64, data []byte) fsm.RestoreChunk { return fsm.RestoreChunk{ID: "r1", At: at, Data: data} }
	for _, c := range []fsm.RestoreChunk{chunk(1, file[1:]), chunk(0, append(file, 0)), chunk(0, nil), chunk(-1, file), chunk(1<<62, file), {ID: "r2", Data: file}} {
		refused(t, m, fsm.KindRestoreChunk, c, wire.CodeConflict, "")
	}
	apply(t, m, fsm.KindRestoreChunk, chunk(0, file[:10]))
	apply(t, m, fsm.KindRestoreChunk, chunk(0, file[:10])) // applied before
	apply(t, m, fsm.KindBeginRestore, begin(file, "r1"))   // likewise
	refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: "r1"}, wire.CodeConflict, fmt.Sprintf("10 of %d bytes", len(file)))
	if now, ok := m.View().Restoring(); !ok || now.Received != 10 {
		t.Errorf("under way: %+v, %v", now, ok)
	}
	flipped := bytes.Clone(file)
	flipped[500] ^= 1
	apply(t, m, fsm.KindRestoreChunk, chunk(10, flipped[10:]))
	refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: "r1"}, wire.CodeConflict, "SHA-256")
	apply(t, m, fsm.KindBeginRestore, begin(file, "r2")) // takes the place of the first
	refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: "r1"}, wire.CodeConflict, "look at the state")
	if dropped := apply(t, m, fsm.KindDropRestore, fsm.DropRestore{ID: "r2", Changed: 1}); dropped != false {
		t.Error("a restore that goes on was dropped by who saw it stand still before")
	}
	if dropped := apply(t, m, fsm.KindDropRestore, fsm.DropRestore{ID: "r2"}); dropped != true {
		t.Error("it is not dropped")
	}
	if _, ok := m.View().Restoring(); ok || m.View().Registry.Len() != 1 {
		t.Error("something is left of it, or lost")
	}
	other := begin(file, "r3")
	other.Index = 18
	apply(t, m, fsm.KindBeginRestore, other)
	apply(t, m, fsm.KindRestoreChunk, fsm.RestoreChunk{ID: "r3", Data: file})
	refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: "r3"}, wire.CodeConflict, "another one was announced")
	for more, words := range map[int64]string{1: "another one was announced", -1: "longer than", 1 - fixedBytes: "longer than 1 bytes"} {
		other := begin(file, fmt.Sprint("bytes", more)) // no more of it is read than was announced, and it must be as much
		other.Bytes += more
		apply(t, m, fsm.KindBeginRestore, other)
		apply(t, m, fsm.KindRestoreChunk, fsm.RestoreChunk{ID: other.ID, Data: file})
		refused(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: other.ID}, wire.CodeConflict, words)
	}

	first := restore(t, m, file, begin(file, "r4"), 300)
	again := apply(t, m, fsm.KindCommitRestore, fsm.CommitRestore{ID: "r4"}).(fsm.Restored)
	if again != first || m.View().Index == first.Index {
		t.Errorf("committed twice: %+v, then %+v", first, again)
	}
}
