package fsm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// patient is a machine that notes why it stopped instead of panicking.
func patient(tb testing.TB) (*fsm.Machine, *string) {
	m, why := founded(tb), new(string)
	m.Fatal = func(index uint64, err error) { *why = fmt.Sprintf("at %d: %v", index, err) }
	return m, why
}

// A log this binary cannot read stops it, before anything of the entry counts.
func TestAForeignLogIsFatal(t *testing.T) {
	good := string(encode(t, registry.KindSignIn, t0, signIn("laser", "s1")))
	for _, c := range []struct{ what, line, want string }{
		{"a kind of tomorrow", strings.Replace(good, "registry.sign_in", "registry.levitate", 1), `log 2: unknown command "registry.levitate": this binary is too old`},
		{"a field of tomorrow", strings.Replace(good, `"body":{`, `"body":{"aura":1,`, 1), "this binary is too old"},
		{"a format of tomorrow", strings.Replace(good, `"v":1`, `"v":2`, 1), "format 2: this binary is too old"},
		{"nothing", "", "log 2: not a command"},
		{"a wrong type", strings.Replace(good, `"slots":2`, `"slots":"two"`, 1), "slots"},
		{"half a line", good[:len(good)/2], "not a command"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m, why := patient(t)
			if err := m.Check([]byte(c.line)); wire.CodeOf(err) != wire.CodeInvalid {
				t.Errorf("Check says %v, want invalid", err)
			}
			before := string(snapshot(t, m))
			r := m.Apply(2, [][]byte{[]byte(good), []byte(c.line)})
			if !strings.Contains(*why, c.want) {
				t.Errorf("stopped because %q, want %q in it", *why, c.want)
			}
			if len(r) != 2 || wire.CodeOf(r[0].Err) != wire.CodeInternal || wire.CodeOf(r[1].Err) != wire.CodeInternal {
				t.Errorf("the entry is answered %v; want two internal errors", r)
			}
			r = m.Apply(3, [][]byte{[]byte(good)})
			if len(r) != 1 || wire.CodeOf(r[0].Err) != wire.CodeInternal {
				t.Errorf("the next entry is answered %v; want an internal error", r)
			}
			if got := string(snapshot(t, m)); got != before {
				t.Errorf("it stopped, yet the state went from\n%s to\n%s", before, got)
			}
		})
	}
}

func TestFatalPanicsByDefault(t *testing.T) {
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "log 1: not a command") {
			t.Errorf("panicked with %q, want the index and the reason", got)
		}
	}()
	fsm.New().Apply(1, [][]byte{[]byte("?")})
}

// The index never goes back, whatever the caller does.
func TestIndexNeverGoesBack(t *testing.T) {
	m, why := patient(t)
	for i := uint64(2); i <= 5; i++ {
		m.Apply(i, nil)
	}
	m.Apply(3, nil) // nothing to do is harmless
	if got := m.View().Index; got != 5 || *why != "" {
		t.Fatalf("index %d, stopped because %q; want 5 and going on", got, *why)
	}
	m.Apply(5, [][]byte{encode(t, registry.KindSignIn, t0, signIn("laser", "s1"))})
	if !strings.Contains(*why, "the state is at 5 already") || m.View().Index != 5 || m.View().Registry.Len() != 0 {
		t.Errorf("entry 5 came twice: stopped because %q, index %d, %d sessions", *why, m.View().Index, m.View().Registry.Len())
	}
}

// Raft may hand an older snapshot to a machine that is ahead of it, and then
// the entries in between once more.
func TestAnOlderSnapshotDoesNotTakeTheStateBack(t *testing.T) {
	log := generateLog(t, 3, 40)
	log[0] = append(log[0], encode(t, fsm.KindFound, t0, fsm.Found{Cluster: "c1"})) // a snapshot of no cluster is another matter
	m := fsm.New()
	var old []byte
	for i, lines := range log {
		m.Apply(uint64(i+1), lines)
		if i == 19 {
			old = snapshot(t, m)
		}
	}
	want := snapshot(t, m)
	index, seq := m.Feed().Last()
	if err := m.Restore(bytes.NewReader(old)); err != nil {
		t.Fatal(err)
	}
	for i := 20; i < len(log); i++ {
		for _, r := range m.Apply(uint64(i+1), log[i]) {
			if wire.CodeOf(r.Err) != wire.CodeUnknown {
				t.Fatalf("entry %d again is answered %+v; want unknown", i+1, r)
			}
		}
		if !bytes.Equal(snapshot(t, m), want) {
			t.Fatalf("after entry %d again the state is not what it was", i+1)
		}
	}
	if events, lagged := m.Feed().Since(index, seq); len(events) > 0 || lagged {
		t.Errorf("emitted %d events again, lagged %v; want none", len(events), lagged)
	}
	apply(t, m, registry.KindAnnounce, newest("n9")) // and on it goes
}

func TestCheck(t *testing.T) {
	m := fsm.New()
	good := string(encode(t, registry.KindSignIn, t0, signIn("laser", "s1")))
	if err := m.Check([]byte(good)); err != nil {
		t.Fatalf("a good command: %v", err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s has no %s", good, old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for what, line := range map[string]string{
		"blank in the body":     swap(`"body":{"`, `"body":{ "`),
		"blank in the envelope": swap(`"v":1,`, `"v":1, `),
		"two bodies":            good[:len(good)-1] + `{}}`,
		"more behind":           good + good,
		"a line end":            good + "\n",
		"no time":               swap(`2026-11-02T15:04:05Z`, ``),
		"a year before all":     swap(`2026-11-02T15:04:05Z`, `0000-01-01T00:00:00+01:00`),
		"by nobody":             swap(`"by":"test"`, `"by":null`),
		"by half a string":      swap(`"by":"test"`, `"by":"test\"`),
		"by a bad escape":       swap(`"by":"test"`, `"by":"\q"`),
		"no body":               swap(`"body":{`, `"body":null,"x":{`),
		"deep nesting":          swap(`"body":{`, `"body":{"labels":`+strings.Repeat("[", 600)+strings.Repeat("]", 600)+`,`),
	} {
		if err := m.Check([]byte(line)); wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("%s: %v, want invalid", what, err)
		}
	}
	if err := m.Check(make([]byte, wire.MaxCommand+1)); wire.CodeOf(err) != wire.CodeTooLarge {
		t.Errorf("a command of %d bytes: %v, want too_large", wire.MaxCommand+1, err)
	}
	if err := m.Check([]byte(swap(`"by":"test"`, `"by":"Zoë \"Z\""`))); err != nil {
		t.Errorf("an odd name of the asker: %v", err)
	}
}

func TestEncode(t *testing.T) {
	at := time.Date(2026, 11, 2, 17, 4, 5, 6, time.FixedZone("", 2*3600))
	got := string(encode(t, "k", at, map[string]string{"b": "<\n>", "a": ""}))
	const want = `{"v":1,"kind":"k","at":"2026-11-02T15:04:05.000000006Z","by":"test","body":{"a":"","b":"<\n>"}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := fsm.Encode("k", t0, fsm.Author{}, strings.Repeat("x", wire.MaxCommand)); wire.CodeOf(err) != wire.CodeTooLarge {
		t.Errorf("a huge body: %v, want too_large", err)
	}
	if _, err := fsm.Encode("k", t0, fsm.Author{}, func() {}); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("a body that is no JSON: %v, want invalid", err)
	}
}

// A command of a new level is offered once the cluster is at that level, and
// that is possible once every coordinator knows it.
func TestLevels(t *testing.T) {
	const next = fsm.Level + 1
	shout := []byte(`{"v":1,"kind":"test.shout","at":"2026-11-02T15:04:05Z","by":"","body":{"Word":"hey"}}`)
	raise := encode(t, fsm.KindRaiseLevel, t0, fsm.RaiseLevel{Level: next})
	m := fsm.New()
	m.AddTestCommand()
	index := uint64(0)
	run := func(line []byte) wire.Result { index++; return m.Apply(index, [][]byte{line})[0] }
	aware := func(id string) []byte {
		c := announce(id)
		c.Coordinator.Level = next
		return encode(t, registry.KindAnnounce, t0, c)
	}

	if r := run(raise); wire.CodeOf(r.Err) != wire.CodeConflict {
		t.Errorf("raise with no coordinator known: %v, want conflict", r.Err)
	}
	run(aware("n1"))
	run(encode(t, registry.KindAnnounce, t0, announce("n2")))
	if r := run(raise); wire.CodeOf(r.Err) != wire.CodeConflict || !strings.Contains(r.Err.Message, "n2") {
		t.Errorf("raise past n2: %v, want a conflict that names it", r.Err)
	}
	if err := m.Check(shout); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("Check of a command of the next level at level 1: %v, want conflict", err)
	}
	if r := run(shout); wire.CodeOf(r.Err) != wire.CodeConflict {
		t.Errorf("a command of the next level at level 1: %+v, want conflict", r)
	}
	run(aware("n2"))
	for range 2 {
		if r := run(raise); r.Value != next || m.View().Level != next {
			t.Fatalf("raise: %+v, level %d; want %d", r, m.View().Level, next)
		}
	}
	if r := run(shout); r.Value != "hey!" {
		t.Errorf("a command of the next level at that level: %+v, want hey!", r)
	}
	if r := run(encode(t, registry.KindAnnounce, t0, announce("n3"))); wire.CodeOf(r.Err) != wire.CodeConflict {
		t.Errorf("a coordinator of level 1 in a cluster of the next level: %+v, want conflict", r)
	}

	// An old binary neither follows nor takes the snapshot.
	old, why := patient(t)
	old.Apply(2, [][]byte{aware("n1")})
	old.Apply(3, [][]byte{raise})
	if !strings.Contains(*why, fmt.Sprintf("log 3: level %d: this binary is too old", next)) {
		t.Errorf("an old binary stopped because %q, want level %d", *why, next)
	}
	if err := fsm.New().Restore(bytes.NewReader(snapshot(t, m))); err == nil || !strings.Contains(err.Error(), fmt.Sprint("level ", next)) {
		t.Errorf("an old binary restores a snapshot of the next level: %v", err)
	}
}

// A command is its caller's alone: one that is written after it does not
// change it.
func TestEncodeKeepsNothing(t *testing.T) {
	var lines [][]byte
	for _, name := range []string{"first", "other"} {
		lines = append(lines, encode(t, registry.KindSignOut, t0, registry.SignOut{FullName: "n1." + name, Session: name}))
	}
	for i, name := range []string{"first", "other"} {
		want := `{"v":1,"kind":"registry.sign_out","at":"` + t0.Format(time.RFC3339Nano) + `","by":"test","body":{"full_name":"n1.` + name + `","session":"` + name + `"}}`
		if string(lines[i]) != want {
			t.Errorf("got %s, want %s", lines[i], want)
		}
	}
}

// A value from another coordinator is read alike, whoever wrote it and with
// whatever this one does not know.
func TestAsReadsEveryLayout(t *testing.T) {
	want := registry.Session{FullName: "n1.laser", ID: "s1", Epoch: 2, Labels: registry.Labels{{Key: "a", Value: "b"}}, Since: t0.UTC(), Index: 7}
	usual, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		string(usual), " " + string(usual), strings.Replace(string(usual), `"index":7`, `"more":[1],"index":7`, 1),
		`{"index":7,"since":"` + t0.UTC().Format(time.RFC3339Nano) + `","labels":{"\u0061":"b"},"epoch":2,"id":"s1","full_name":"n1.laser"}`,
	} {
		for _, v := range []any{json.RawMessage(s), []byte(s)} {
			if got, err := fsm.As[registry.Session](v); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v (%v), want %+v", s, got, err, want)
			}
		}
	}
	if got, err := fsm.As[registry.Session](json.RawMessage(`{"epoch":"2"}`)); err == nil {
		t.Errorf("a text for a number was read as %+v", got)
	}
	for s, good := range map[string]bool{`{}`: true, ` {} `: true, `{"a":1}`: true, `null`: true, `{`: false, `1`: false, `{}{}`: false} {
		if _, err := fsm.As[struct{}](json.RawMessage(s)); (err == nil) != good {
			t.Errorf("%s as nothing: %v", s, err)
		}
	}
}
