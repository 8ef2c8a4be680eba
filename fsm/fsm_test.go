package fsm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC)

func encode(tb testing.TB, kind string, at time.Time, body any) []byte {
	tb.Helper()
	line, err := fsm.Encode(kind, at, fsm.Author{By: "test"}, body)
	if err != nil {
		tb.Fatalf("encode %s: %v", kind, err)
	}
	return line
}

func announce(id string) registry.Announce {
	return registry.Announce{Coordinator: registry.Coordinator{
		ID: id, ServerID: id + "/1", Namespace: id, PeerAddr: id + ":7300", Level: 1,
	}}
}

func signIn(name, session string) registry.SignIn {
	return registry.SignIn{
		Name: name, Namespace: "n1", Session: session, SecretHash: registry.HashSecret(session), Home: "n1",
		Slots: 2, Runtimes: []string{"sh"},
	}
}

// apply carries out one entry of one command, which must not be refused.
func apply(tb testing.TB, m *fsm.Machine, kind string, body any) any {
	tb.Helper()
	r := m.Apply(m.View().Index+1, [][]byte{encode(tb, kind, t0, body)})
	if r[0].Err != nil {
		tb.Fatalf("%s %+v was refused: %v", kind, body, r[0].Err)
	}
	return r[0].Value
}

// newest is announce of a coordinator that knows all levels of this binary.
func newest(id string) registry.Announce {
	c := announce(id)
	c.Coordinator.Level = fsm.Level
	return c
}

// atNewestLevel is founded at the highest level.
func atNewestLevel(tb testing.TB) *fsm.Machine {
	tb.Helper()
	m := fsm.New()
	apply(tb, m, registry.KindAnnounce, newest("n1"))
	apply(tb, m, fsm.KindRaiseLevel, fsm.RaiseLevel{Level: fsm.Level})
	return m
}

// founded is a machine with coordinator n1.
func founded(tb testing.TB) *fsm.Machine {
	tb.Helper()
	m := fsm.New()
	apply(tb, m, registry.KindAnnounce, announce("n1"))
	return m
}

func snapshot(tb testing.TB, m *fsm.Machine) []byte {
	tb.Helper()
	var b bytes.Buffer
	n, err := m.Freeze().WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		tb.Fatalf("the snapshot of %d bytes says %d, %v", b.Len(), n, err)
	}
	return b.Bytes()
}

func asJSON(tb testing.TB, v any) string {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// seeds is how many random logs a property is tried on.
func seeds() uint64 {
	if testing.Short() {
		return 30
	}
	return 300
}

// Two machines that read the same log agree in every answer, every event and
// every byte of their snapshots.
func TestSameLogSameBytes(t *testing.T) {
	accepted := map[string]int{}
	for seed := range seeds() {
		a, b := fsm.New(), fsm.New()
		b.CopyPerCommand() // sharing a copy within an entry shows nowhere
		for i, lines := range generateLog(t, seed, 60) {
			index := uint64(i + 1)
			last, seq := a.Feed().Last()
			ra, rb := a.Apply(index, lines), b.Apply(index, lines)
			if x, y := asJSON(t, ra), asJSON(t, rb); x != y {
				t.Fatalf("seed %d, entry %d: one answers %s, the other %s", seed, index, x, y)
			}
			ea, la := a.Feed().Since(last, seq)
			eb, lb := b.Feed().Since(last, seq)
			if x, y := asJSON(t, ea), asJSON(t, eb); x != y || la != lb {
				t.Fatalf("seed %d, entry %d: the feeds differ, lagged %v and %v:\n%s\n%s", seed, index, la, lb, x, y)
			}
			for j, r := range ra {
				if r.Err == nil {
					kind, _, _ := strings.Cut(string(lines[j][len(`{"v":1,"kind":"`):]), `"`)
					accepted[kind]++
				}
			}
		}
		if !bytes.Equal(snapshot(t, a), snapshot(t, b)) {
			t.Fatalf("seed %d: the snapshots differ", seed)
		}
	}
	for _, kind := range fsm.Kinds() {
		if accepted[kind] == 0 {
			t.Errorf("no %s was carried out in %d logs: they show nothing about it", kind, seeds())
		}
	}
}

func allEvents(tb testing.TB, m *fsm.Machine) (all []fsm.Event) {
	tb.Helper()
	index, seq := uint64(0), -1
	for {
		events, lagged := m.Feed().Since(index, seq)
		if lagged {
			tb.Fatalf("lagged at (%d, %d) with %d events read", index, seq, len(all))
		}
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
		index, seq = all[len(all)-1].Index, all[len(all)-1].Seq
	}
}

// A machine that slept through a snapshot agrees with one that did not.
func TestSnapshotIsTransparent(t *testing.T) {
	for seed := range seeds() {
		log := generateLog(t, 1000+seed, 60)
		r := rand.New(rand.NewPCG(seed, 2))
		a, b := fsm.New(), fsm.New()
		cuts := []int{r.IntN(len(log)), r.IntN(len(log))}
		for i, lines := range log {
			ra, rb := a.Apply(uint64(i+1), lines), b.Apply(uint64(i+1), lines)
			if x, y := asJSON(t, ra), asJSON(t, rb); x != y {
				t.Fatalf("seed %d, cuts %v, entry %d: the one that slept answers %s, the other %s", seed, cuts, i+1, y, x)
			}
			if slices.Contains(cuts, i) {
				b = restored(t, snapshot(t, b))
				if x, y := a.View().Fingerprint(), b.View().Fingerprint(); x != y {
					t.Fatalf("seed %d: fingerprint %s, after restore %s", seed, x, y)
				}
			}
		}
		if x, y := snapshot(t, a), snapshot(t, b); !bytes.Equal(x, y) {
			t.Fatalf("seed %d, cuts %v: the snapshots differ:\n%s", seed, cuts, cmp.Diff(string(x), string(y)))
		}
		x, y := a.View(), b.View()
		if x.Jobs.Size() != y.Jobs.Size() || x.Registry.Bytes() != y.Registry.Bytes() {
			t.Fatalf("seed %d, cuts %v: the one that slept has jobs of %+v and sessions of %d bytes, the other %+v and %d",
				seed, cuts, y.Jobs.Size(), y.Registry.Bytes(), x.Jobs.Size(), x.Registry.Bytes())
		}
		sum := int64(0)
		for s := range x.Registry.Sessions() {
			sum += s.Bytes()
		}
		if sum != x.Registry.Bytes() {
			t.Fatalf("seed %d: the sessions have %d bytes, and are said to have %d", seed, sum, x.Registry.Bytes())
		}
	}
}

func restored(tb testing.TB, snap []byte) *fsm.Machine {
	tb.Helper()
	m := fsm.New()
	if err := m.Restore(bytes.NewReader(snap)); err != nil {
		tb.Fatalf("restore: %v\n%s", err, snap)
	}
	if err := m.View().Verify(); err != nil {
		tb.Fatal(err)
	}
	return m
}

// A refused command changes nothing but the index, not even what it had done
// before it was refused.
func TestRefusedCommandsChangeNothing(t *testing.T) {
	m := founded(t)
	m.AddFailingCommands()
	apply(t, m, registry.KindSignIn, signIn("laser", "s1"))
	before, index := m.View().Fingerprint(), m.View().Index
	_, seq := m.Feed().Last()
	for _, c := range []struct {
		kind string
		body any
		code wire.Code
	}{
		{registry.KindSignIn, signIn("laser", "s2"), wire.CodeNameTaken},
		{registry.KindSignOut, registry.SignOut{FullName: "n1.laser", Session: "s2"}, wire.CodeNotFound},
		{registry.KindForget, registry.Forget{ID: "n1", ServerID: "n1/2"}, wire.CodeConflict},
		{jobs.KindCancel, jobs.Cancel{ID: "j1"}, wire.CodeNotFound},
		{jobs.KindSubmit, jobs.Submit{ID: "j1"}, wire.CodeInvalid},
		{"test.botch", signIn("camera", "s2"), wire.CodeConflict},
		{"test.botch_job", jobs.Submit{ID: "j1", Spec: spec(t)}, wire.CodeConflict},
		{fsm.KindFound, fsm.Found{}, wire.CodeInvalid},
	} {
		r := m.Apply(m.View().Index+1, [][]byte{encode(t, c.kind, t0, c.body)})
		if r[0].Err == nil || r[0].Err.Code != c.code {
			t.Errorf("%s: answered %v, want code %s", c.kind, r[0].Err, c.code)
		}
		if got := m.View().Fingerprint(); got != before {
			t.Errorf("%s was refused, yet the fingerprint changed", c.kind)
		}
	}
	if events, lagged := m.Feed().Since(index, seq); len(events) > 0 || lagged {
		t.Errorf("refused commands emitted %v, lagged %v; want nothing", events, lagged)
	}
	// Between accepted ones of the same entry, too.
	r := m.Apply(m.View().Index+1, [][]byte{
		encode(t, registry.KindSignIn, t0, signIn("a", "sa")),
		encode(t, "test.botch", t0, signIn("camera", "s2")),
		encode(t, registry.KindSignIn, t0, signIn("camera", "s3")),
		encode(t, registry.KindSignIn, t0, signIn("a", "sb")),
	})
	r = append(r, m.Apply(m.View().Index+1, [][]byte{
		encode(t, jobs.KindSubmit, t0, jobs.Submit{ID: "j1", Spec: spec(t)}),
		encode(t, "test.botch_job", t0, jobs.Submit{ID: "j2", Spec: spec(t)}),
	})...)
	var got []string
	for _, x := range r {
		switch v := x.Value.(type) {
		case registry.Session:
			got = append(got, v.ID)
		case jobs.Job:
			got = append(got, v.ID)
		default:
			got = append(got, string(x.Err.Code))
		}
	}
	if want := []string{"sa", "conflict", "s3", "name_taken", "j1", "conflict"}; !slices.Equal(got, want) {
		t.Errorf("the entries are answered %q, want %q", got, want)
	}
	if events := allEvents(t, m); len(events) != 5 || events[3].Seq != 1 || events[3].Key != "n1.camera" || events[4].Key != "j1" {
		t.Errorf("events %+v; want five, the last n1.camera with seq 1 and j1", events)
	}
	if n := m.View().Jobs.Len(); n != 1 {
		t.Errorf("there are %d jobs, want the accepted one", n)
	}
}

// When a session ends, the same entry puts its parts back.
func TestTheEndOfASessionReleasesItsParts(t *testing.T) {
	for _, end := range []struct {
		kind     string
		body     any
		vanished int
	}{
		{registry.KindSignOut, registry.SignOut{FullName: "n1.w", Session: "s1"}, 0},
		{registry.KindExpire, registry.Expire{Sessions: []registry.Fence{{FullName: "n1.w", Session: "s1", Epoch: 1}}, Reason: "lease ran out"}, 1},
		{registry.KindRemove, registry.Remove{FullName: "n1.w", Reason: "a ghost"}, 0},
		{registry.KindForget, registry.Forget{ID: "n1", ServerID: "n1/1"}, 1},
	} {
		m := founded(t)
		apply(t, m, registry.KindSignIn, signIn("w", "s1"))
		apply(t, m, jobs.KindSubmit, jobs.Submit{ID: "j1", Spec: spec(t)})
		apply(t, m, jobs.KindAssign, jobs.Assign{Assignments: []jobs.Assignment{
			{Job: "j1", Part: 0, Attempt: 1, Worker: "n1.w", Session: "s1", Home: "n1"},
		}})
		moved := signIn("w", "s1")
		moved.TakeOver, moved.Slots = true, 5
		apply(t, m, registry.KindSignIn, moved)
		if n := m.View().Jobs.Held("s1"); n != 1 {
			t.Fatalf("after a take-over the session holds %d parts, want 1 still", n)
		}
		apply(t, m, end.kind, end.body)
		p, _ := m.View().Jobs.Part("j1", 0)
		if p.State != jobs.Waiting || m.View().Jobs.Held("s1") != 0 {
			t.Errorf("after %s the part is %s with %q, want it waiting", end.kind, p.State, p.Session)
		}
		if p.Losses != 1 || p.Vanished != end.vanished {
			t.Errorf("after %s the part counts %d losses, %d by vanished workers; want 1 and %d", end.kind, p.Losses, p.Vanished, end.vanished)
		}
		events := allEvents(t, m)
		last := events[len(events)-1]
		if last.Kind != jobs.EventPartRequeued || last.Index != m.View().Index || last.Seq == 0 {
			t.Errorf("after %s the last event is %+v, want the requeue behind its cause", end.kind, last)
		}
	}
}

func spec(tb testing.TB) jobs.Spec {
	tb.Helper()
	s, err := jobs.Check(wire.SubmitJob{Runtime: "sh", Script: "cat", Items: []json.RawMessage{[]byte("1"), []byte("2")}})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestFound(t *testing.T) {
	m := founded(t)
	for range 2 {
		if got := apply(t, m, fsm.KindFound, fsm.Found{Cluster: "c1"}); got != "c1" || m.View().ClusterID != "c1" {
			t.Fatalf("founding answers %v, the view says %q; want c1", got, m.View().ClusterID)
		}
	}
	r := m.Apply(m.View().Index+1, [][]byte{encode(t, fsm.KindFound, t0, fsm.Found{Cluster: "c2"})})
	if wire.CodeOf(r[0].Err) != wire.CodeConflict || m.View().ClusterID != "c1" {
		t.Errorf("a second founding: %v, cluster %q; want a conflict, still c1", r[0].Err, m.View().ClusterID)
	}
}

// Readers walk frozen views while entries are applied (for the race detector).
func TestReadersDoNotDisturb(t *testing.T) {
	m := fsm.New()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var last uint64
			for {
				select {
				case <-done:
					return
				default:
				}
				v := m.View()
				if v.Index < last {
					t.Errorf("the view went back from %d to %d", last, v.Index)
				}
				last = v.Index
				if a, b := v.Fingerprint(), v.Fingerprint(); a != b {
					t.Errorf("view %d changed while it was read", v.Index)
				}
				walk(v)
				m.Feed().Since(last, -1)
			}
		})
	}
	for i, lines := range generateLog(t, 7, 600) {
		m.Apply(uint64(i+1), lines)
	}
	close(done)
	readers.Wait()
}

func walk(v *fsm.State) {
	for s := range v.Registry.Sessions() {
		v.Registry.SessionByID(s.ID)
		v.Registry.Session(s.FullName)
		v.Jobs.Held(s.ID)
	}
	for c := range v.Registry.Coordinators() {
		for range v.Registry.SessionsOf(c.ID) {
		}
		v.Registry.NamespaceOwner(c.Namespace)
	}
	for j := range v.Jobs.Active() {
		for range v.Jobs.Parts(j.ID) {
		}
	}
}

func TestAs(t *testing.T) {
	s := registry.Session{FullName: "n1.laser", Epoch: 2}
	for _, v := range []any{s, json.RawMessage(asJSON(t, s)), []byte(asJSON(t, s))} {
		if got, err := fsm.As[registry.Session](v); err != nil || got.FullName != s.FullName || got.Epoch != 2 {
			t.Errorf("As of a %T gives %+v, %v; want %+v", v, got, err, s)
		}
	}
	if got, err := fsm.As[[]string](nil); err != nil || got != nil {
		t.Errorf("As of nothing gives %v, %v; want nothing", got, err)
	}
	for _, v := range []any{42, json.RawMessage(`{"epoch":"two"}`), registry.Ended{}} {
		if got, err := fsm.As[registry.Session](v); err == nil {
			t.Errorf("As of %v gives %+v; want an error", v, got)
		}
	}
	verdicts := []jobs.Verdict{{PartRef: wire.PartRef{Job: "j1"}, Code: wire.CodeConflict}}
	if got, err := fsm.As[[]jobs.Verdict](json.RawMessage(asJSON(t, verdicts))); err != nil || fmt.Sprint(got) != fmt.Sprint(verdicts) {
		t.Errorf("verdicts came over as %v, %v; want %v", got, err, verdicts)
	}
}
