package access_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/wire"
)

var t0 = time.Date(2026, 11, 30, 15, 4, 5, 0, time.UTC)

// fixture is a table as the state machine uses it: every command works on a copy
// of its own, which is kept when the command is carried out.
type fixture struct {
	*testing.T
	table  *access.Table
	index  uint64
	events []string // of the last command
}

func try[C, R any](h *fixture, method func(*access.Table, C, time.Time) (R, error), c C) (R, error) {
	h.Helper()
	if v, ok := any(c).(interface{ Validate() error }); ok { // as whoever proposes does
		if err := v.Validate(); err != nil {
			var none R
			return none, err
		}
	}
	h.index++
	before, next := printed(h.table), h.table.Next(h.index)
	r, err := method(next, c, t0.Add(time.Duration(h.index)*time.Second))
	if got := printed(h.table); got != before {
		h.Fatalf("%T: the table it was copied from has changed:\n%s", c, cmp.Diff(before, got))
	}
	if broken := next.Verify(); broken != nil {
		h.Errorf("after %T: %v", c, broken)
	}
	h.events = nil
	for _, e := range next.TakeEvents() {
		h.events = append(h.events, e.Kind+" "+e.Key)
		if e.Token != nil && e.Token.Hash != "" || e.Gone != nil && e.Gone.Hash != "" {
			h.Errorf("event %s %s tells the hash", e.Kind, e.Key)
		}
	}
	if err != nil && printed(next) != before {
		h.Errorf("%T was refused (%v), yet it changed:\n%s", c, err, cmp.Diff(before, printed(next)))
	}
	if err == nil {
		h.table = reloaded(h, next)
	}
	return r, err
}

// reloaded is the table as a snapshot brings it back.
func reloaded(h *fixture, t *access.Table) *access.Table {
	h.Helper()
	back := new(access.Table)
	for name, row := range t.Rows() {
		b, err := json.Marshal(row)
		if err != nil {
			h.Fatal(err)
		}
		if known, err := back.Load(name, func(into any) error { return json.Unmarshal(b, into) }); !known || err != nil {
			h.Fatalf("load %s %s: %v, %v", name, b, known, err)
		}
		if _, err := back.Load(name, func(into any) error { return json.Unmarshal(b, into) }); err == nil {
			h.Errorf("%s %s is loaded twice", name, b)
		}
	}
	if a, b := printed(t), printed(back); a != b {
		h.Fatalf("loaded it is another:\n%s", cmp.Diff(a, b))
	}
	if err := back.Verify(); err != nil {
		h.Fatal(err)
	}
	return back
}

func do[C, R any](h *fixture, method func(*access.Table, C, time.Time) (R, error), c C) R {
	h.Helper()
	r, err := try(h, method, c)
	if err != nil {
		h.Fatalf("%+v was refused: %v", c, err)
	}
	return r
}

func refused[C, R any](h *fixture, code wire.Code, method func(*access.Table, C, time.Time) (R, error), c C) {
	h.Helper()
	if r, err := try(h, method, c); wire.CodeOf(err) != code {
		h.Errorf("%+v: got %+v, error %v of code %q; want code %q", c, r, err, wire.CodeOf(err), code)
	}
}

func (h *fixture) wantEvents(want ...string) {
	h.Helper()
	if !slices.Equal(h.events, want) {
		h.Errorf("events %q, want %q", h.events, want)
	}
}

func printed(t *access.Table) string {
	var b strings.Builder
	for name, row := range t.Rows() {
		line, err := json.Marshal(row)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s %s\n", name, line)
	}
	return b.String()
}

// hash stands for the SHA-256 of secret n.
func hash(n int) string { return fmt.Sprintf("%064x", n) }

func create(n int, expires time.Time) access.Create {
	return access.Create{
		ID: fmt.Sprintf("t_%04d", n), Hash: hash(n), Name: "ann", Grants: access.Grants{{Right: access.Write, Namespace: "lab1"}}, CreatedBy: "t_0", Expires: expires,
	}
}

func TestTokens(t *testing.T) {
	h := &fixture{T: t, table: new(access.Table)}
	row := do(h, (*access.Table).Create, create(1, time.Time{}))
	h.wantEvents("created t_0001")
	if again := do(h, (*access.Table).Create, create(1, t0.Add(time.Hour))); !cmp.Equal(again, row) {
		t.Errorf("repeated it is %+v, was %+v", again, row)
	}
	h.wantEvents()
	if got, ok := h.table.TokenByHash(hash(1)); !ok || got.ID != "t_0001" || !got.Grants.Allow(access.JobsWork, "lab1") {
		t.Errorf("by its secret: %+v, %v", got, ok)
	}
	other := create(1, time.Time{})
	other.Grants = access.Grants{{Right: access.Admin}}
	refused(h, wire.CodeConflict, (*access.Table).Create, other)
	stolen := create(2, time.Time{})
	stolen.Hash = hash(1)
	refused(h, wire.CodeConflict, (*access.Table).Create, stolen)

	refused(h, wire.CodeNotFound, (*access.Table).Revoke, access.Revoke{ID: "t_0002"})
	do(h, (*access.Table).Revoke, access.Revoke{ID: "t_0001"})
	h.wantEvents("revoked t_0001")
	do(h, (*access.Table).Revoke, access.Revoke{ID: "t_0001"})
	h.wantEvents()
	if gone, ok := h.table.GoneByHash(hash(1)); !ok || gone.Text() != "token t_0001 was revoked" {
		t.Errorf("gone: %+v, %v", gone, ok)
	}
	refused(h, wire.CodeConflict, (*access.Table).Create, create(1, time.Time{})) // it does not come back
}

// Tokens and join tokens end in the order of their times, by the leader's clock;
// one without an end is never ended so.
func TestExpiry(t *testing.T) {
	h := &fixture{T: t, table: new(access.Table)}
	if c, any := h.table.Expired(t0, 9); any {
		t.Errorf("in an empty table there expires %+v", c)
	}
	do(h, (*access.Table).Create, create(1, t0.Add(3*time.Hour)))
	do(h, (*access.Table).Create, create(2, t0.Add(time.Hour).In(time.FixedZone("", 7200))))
	do(h, (*access.Table).Create, create(3, time.Time{}))
	do(h, (*access.Table).CreateJoinToken, access.CreateJoinToken{Hash: hash(9), ID: "n4", Expires: t0.Add(2*time.Hour - access.KeepJoinToken)}) // it is remembered
	if c, any := h.table.Expired(t0.Add(time.Hour-1), 9); any {
		t.Errorf("too early: %+v", c)
	}
	if c, _ := h.table.Expired(t0.Add(9*time.Hour), 2); !cmp.Equal(c, access.Expire{Tokens: []string{"t_0002"}, JoinTokens: []string{hash(9)}}) {
		t.Errorf("the first two are %+v", c)
	}
	c, _ := h.table.Expired(t0.Add(9*time.Hour), 9)
	c.Tokens = append(c.Tokens, "t_0003", "t_0004")
	if ended := do(h, (*access.Table).Expire, c); !slices.Equal(ended, []string{"t_0002", "t_0001"}) {
		t.Errorf("ended %q", ended)
	}
	h.wantEvents("expired t_0002", "expired t_0001")
	if gone, ok := h.table.Gone("t_0001"); !ok || gone.Text() != "token t_0001 has expired" || h.table.Len() != 1 || h.table.LenJoinTokens() != 0 {
		t.Errorf("gone: %+v; %d tokens and %d join tokens are left", gone, h.table.Len(), h.table.LenJoinTokens())
	}
	do(h, (*access.Table).Expire, c)
	h.wantEvents()
}

func TestTouchGoesForwardByTheHour(t *testing.T) {
	h := &fixture{T: t, table: new(access.Table)}
	do(h, (*access.Table).Create, create(1, time.Time{}))
	for _, c := range []struct{ at, want time.Duration }{{0, -245 * time.Second}, {30 * time.Minute, -245 * time.Second}, {4 * time.Hour, 4*time.Hour - 245*time.Second}, {time.Hour, 4*time.Hour - 245*time.Second}} {
		do(h, (*access.Table).Touch, access.Touch{Used: []access.Use{{"t_0001", t0.Add(c.at)}, {"t_0002", t0}}})
		if row, _ := h.table.Token("t_0001"); !row.LastUsed.Equal(t0.Add(c.want)) {
			t.Errorf("touched at %v it was used last at %v, want %v", c.at, row.LastUsed, t0.Add(c.want))
		}
	}
}

// A join token is for one coordinator and one use, which may be told twice.
func TestJoinTokens(t *testing.T) {
	h := &fixture{T: t, table: new(access.Table)}
	c := access.CreateJoinToken{Hash: hash(1), ID: "n4", Expires: t0.Add(time.Minute), CreatedBy: "t_0"}
	do(h, (*access.Table).CreateJoinToken, c)
	do(h, (*access.Table).CreateJoinToken, c)
	c.ID = "n5"
	refused(h, wire.CodeConflict, (*access.Table).CreateJoinToken, c)
	for _, wrong := range []access.UseJoinToken{{hash(2), "n4", "u1"}, {hash(1), "n5", "u1"}} {
		refused(h, wire.CodeUnauthorized, (*access.Table).UseJoinToken, wrong)
	}
	for range 2 {
		if row := do(h, (*access.Table).UseJoinToken, access.UseJoinToken{Hash: hash(1), ID: "n4", Use: "u1"}); row.ID != "n4" {
			t.Errorf("used: %+v", row)
		}
	}
	refused(h, wire.CodeUnauthorized, (*access.Table).UseJoinToken, access.UseJoinToken{Hash: hash(1), ID: "n4", Use: "u2"})
	refused(h, wire.CodeInvalid, (*access.Table).UseJoinToken, access.UseJoinToken{Hash: hash(1), ID: "n4"})
}

// So many of those that are gone are remembered, the last ones.
func TestKeepGone(t *testing.T) {
	table := new(access.Table)
	for n := range access.KeepGone + 10 {
		table = table.Next(uint64(n + 1))
		if _, err := table.Create(create(n, time.Time{}), t0); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Revoke(access.Revoke{ID: create(n, time.Time{}).ID}, t0); err != nil {
			t.Fatal(err)
		}
	}
	_, old := table.Gone("t_0009")
	_, kept := table.Gone("t_0010")
	if _, byHash := table.GoneByHash(hash(9)); old || byHash || !kept {
		t.Errorf("remembered: the tenth %v, by hash %v, the eleventh %v", old, byHash, kept)
	}
	if err := table.Verify(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoToken(t *testing.T) {
	h := &fixture{T: t, table: new(access.Table)}
	for what, change := range map[string]func(*access.Create){
		"id":      func(c *access.Create) { c.ID = "s_1" },
		"hash":    func(c *access.Create) { c.Hash = "fmt_secret" },
		"name":    func(c *access.Create) { c.Name = strings.Repeat("n", 256) },
		"grants":  func(c *access.Create) { c.Grants = nil },
		"grants ": func(c *access.Create) { c.Grants = access.Grants{{Right: "fly", Namespace: "lab1"}} },
		"grants\t": func(c *access.Create) {
			c.Grants = slices.Repeat(access.Grants{{Right: access.Read, Namespace: "lab1"}}, access.MaxGrants+1)
		},
		"expires": func(c *access.Create) { c.Expires = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		c := create(1, time.Time{})
		change(&c)
		_, err := try(h, (*access.Table).Create, c)
		var e *wire.Error
		if e, _ = err.(*wire.Error); e == nil || e.Code != wire.CodeInvalid || e.Field != strings.TrimSpace(what) {
			t.Errorf("a bad %s: %v", what, err)
		}
	}
	refused(h, wire.CodeInvalid, (*access.Table).CreateJoinToken, access.CreateJoinToken{Hash: hash(1), ID: "n4/1", Expires: t0})
	refused(h, wire.CodeInvalid, (*access.Table).CreateJoinToken, access.CreateJoinToken{Hash: hash(1), Expires: t0})
	refused(h, wire.CodeInvalid, (*access.Table).CreateJoinToken, access.CreateJoinToken{Hash: hash(1), ID: "n4"})
}

// A copy goes its own way, and the one it was copied from stays.
func TestTokenViewsAreFrozen(t *testing.T) {
	a := new(access.Table).Next(1)
	if _, err := a.Create(create(1, t0), t0); err != nil {
		t.Fatal(err)
	}
	before := printed(a)
	b := a.Next(2)
	if _, err := b.Touch(access.Touch{Used: []access.Use{{"t_0001", t0}}}, t0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Revoke(access.Revoke{ID: "t_0001"}, t0); err != nil {
		t.Fatal(err)
	}
	if printed(a) != before || a.Len() != 1 || b.Len() != 0 || a.Verify() != nil {
		t.Errorf("the first has become %s", printed(a))
	}
}
