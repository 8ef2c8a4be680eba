package registry_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

var t0 = time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC)

// fixture is a table as the state machine uses it: every command works on a copy
// of its own, which is kept when the command is carried out.
type fixture struct {
	*testing.T
	table *registry.Table
	index uint64
	at    time.Time
}

// open is a fixture with coordinators n1 and n2.
func open(t *testing.T) *fixture {
	h := &fixture{T: t, table: new(registry.Table), at: t0}
	for _, id := range []string{"n1", "n2"} {
		do(h, (*registry.Table).Announce, announce(id))
	}
	return h
}

func try[C, R any](h *fixture, method func(*registry.Table, C, time.Time) (R, error), c C) (R, error) {
	h.Helper()
	if v, ok := any(c).(interface{ Validate() error }); ok { // as whoever proposes does
		if err := v.Validate(); err != nil {
			var none R
			return none, err
		}
	}
	h.index++
	h.at = h.at.Add(time.Second)
	before, next := print(h.table), h.table.Next(h.index)
	r, err := method(next, c, h.at)
	if got := print(h.table); got != before {
		h.Fatalf("%T: the table it was copied from has changed:\n%s", c, cmp.Diff(before, got))
	}
	if broken := next.Verify(); broken != nil {
		h.Errorf("after %T: %v", c, broken)
	}
	if err == nil {
		h.table = next
	} else if got := print(next); got != before {
		h.Errorf("%T was refused (%v), yet it changed:\n%s", c, err, cmp.Diff(before, got))
	} else if len(next.Events()) > 0 {
		h.Errorf("%T was refused (%v), yet it emitted %v", c, err, next.Events())
	}
	return r, err
}

// do carries out a command that must not be refused.
func do[C, R any](h *fixture, method func(*registry.Table, C, time.Time) (R, error), c C) R {
	h.Helper()
	r, err := try(h, method, c)
	if err != nil {
		h.Fatalf("%+v was refused: %v", c, err)
	}
	return r
}

// refused carries out a command that must be refused.
func refused[C, R any](h *fixture, code wire.Code, method func(*registry.Table, C, time.Time) (R, error), c C) {
	h.Helper()
	if r, err := try(h, method, c); wire.CodeOf(err) != code {
		h.Errorf("%+v: got %+v, error %v of code %q; want code %q", c, r, err, wire.CodeOf(err), code)
	}
}

// wantEvents checks the kinds and keys of the last command's events.
func (h *fixture) wantEvents(want ...string) {
	h.Helper()
	var got []string
	for _, e := range h.table.Events() {
		got = append(got, e.Kind+" "+e.Key)
	}
	if !slices.Equal(got, want) {
		h.Errorf("events %q, want %q", got, want)
	}
}

func print(t *registry.Table) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for name, row := range t.Rows() {
		b.WriteString(name + " ")
		if err := enc.Encode(row); err != nil {
			panic(err)
		}
	}
	return b.String()
}

func announce(id string) registry.Announce {
	return registry.Announce{Coordinator: registry.Coordinator{
		ID: id, ServerID: id + "/a", Namespace: id, PeerAddr: id + ":7300", Level: 1,
	}}
}

// signIn is that of session s1 as n1.laser at n1, with changes.
func signIn(changes ...func(*registry.SignIn)) registry.SignIn {
	c := registry.SignIn{
		Name: "laser", Namespace: "n1", Session: "s1", SecretHash: registry.HashSecret("secret of s1"),
		Home: "n1", Kind: "rest", Lease: 15 * time.Second,
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func session(id string) func(*registry.SignIn) {
	return func(c *registry.SignIn) { c.Session, c.SecretHash = id, registry.HashSecret("secret of "+id) }
}

func name(s string) func(*registry.SignIn) { return func(c *registry.SignIn) { c.Name = s } }

func takeOver(home string) func(*registry.SignIn) {
	return func(c *registry.SignIn) { c.Home, c.TakeOver = home, true }
}

var (
	opSignIn   = (*registry.Table).SignIn
	opSignOut  = (*registry.Table).SignOut
	opExpire   = (*registry.Table).Expire
	opRemove   = (*registry.Table).Remove
	opAnnounce = (*registry.Table).Announce
	opForget   = (*registry.Table).Forget
)

func TestSignIn(t *testing.T) {
	h := open(t)
	got := do(h, opSignIn, signIn())
	h.wantEvents("signed_in n1.laser")
	want := registry.Session{
		FullName: "n1.laser", Name: "laser", Namespace: "n1", ID: "s1", SecretHash: registry.HashSecret("secret of s1"),
		Home: "n1", Kind: "rest", Epoch: 1, Lease: 15 * time.Second, Since: t0.Add(3 * time.Second), Index: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("signed in otherwise than asked (-want +got):\n%s", diff)
	}
	if event := h.table.Events()[0].Session; event.SecretHash != "" || event.ID != "s1" {
		t.Errorf("the event holds %+v; want session s1 without the hash of its secret", event)
	}
	if byID, ok := h.table.SessionByID("s1"); !ok || byID.FullName != "n1.laser" {
		t.Errorf("session s1 is %+v, %v; want n1.laser", byID, ok)
	}
}

func TestTheSameSignInToldTwiceIsOneSession(t *testing.T) {
	h := open(t)
	first := do(h, opSignIn, signIn())
	second := do(h, opSignIn, signIn())
	h.wantEvents()
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the second answer differs (-first +second):\n%s", diff)
	}
	if n := h.table.Len(); n != 1 {
		t.Errorf("%d sessions after one sign-in applied twice, want 1", n)
	}
}

func TestANameHasOneSession(t *testing.T) {
	h := open(t)
	do(h, opSignIn, signIn())
	refused(h, wire.CodeNameTaken, opSignIn, signIn(session("s2")))
	refused(h, wire.CodeNameTaken, opSignIn, signIn(func(c *registry.SignIn) { c.SecretHash = registry.HashSecret("guess") }))
	refused(h, wire.CodeConflict, opSignIn, signIn(name("camera"))) // the id is somebody's already
	do(h, opSignIn, signIn(name("camera"), session("s2")))
	do(h, opSignIn, signIn(session("s3"), func(c *registry.SignIn) { c.Namespace = "n2" }))
}

// A name is free again once its session is gone.
func TestNameIsFreedBySignOut(t *testing.T) {
	h := open(t)
	do(h, opSignIn, signIn())
	refused(h, wire.CodeNotFound, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s2"})
	refused(h, wire.CodeNotFound, opSignOut, registry.SignOut{FullName: "n1.camera", Session: "s1"})
	do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"})
	h.wantEvents("signed_out n1.laser")
	do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"}) // applied twice
	h.wantEvents()
	refused(h, wire.CodeConflict, opSignIn, signIn()) // its sign-in applied again, late
	do(h, opSignIn, signIn(session("s2")))
	do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"}) // applied a third time: s2 stays
	if s, ok := h.table.Session("n1.laser"); !ok || s.ID != "s2" {
		t.Errorf("n1.laser is %+v, %v; want session s2", s, ok)
	}
}

func TestSignInNeedsWhoPresides(t *testing.T) {
	h := open(t)
	refused(h, wire.CodeNotFound, opSignIn, signIn(func(c *registry.SignIn) { c.Namespace = "n3" }))
	refused(h, wire.CodeNotFound, opSignIn, signIn(func(c *registry.SignIn) { c.Home = "n3" }))
	do(h, opSignIn, signIn(func(c *registry.SignIn) { c.Home = "n2" })) // another's namespace is fine
}

func TestTakeOver(t *testing.T) {
	h := open(t)
	first := do(h, opSignIn, signIn())
	refused(h, wire.CodeForbidden, opSignIn, signIn(takeOver("n2"), func(c *registry.SignIn) { c.SecretHash = registry.HashSecret("guess") }))
	refused(h, wire.CodeNameTaken, opSignIn, signIn(takeOver("n2"), session("s2")))

	moved := do(h, opSignIn, signIn(takeOver("n2")))
	h.wantEvents("moved n1.laser")
	if moved.Home != "n2" || moved.Epoch != 2 || !moved.Since.Equal(first.Since) || moved.Index == first.Index {
		t.Errorf("moved to %+v; want home n2, epoch 2, since %v, a new index", moved, first.Since)
	}
	again := do(h, opSignIn, signIn(takeOver("n2"))) // applied twice
	h.wantEvents()
	if diff := cmp.Diff(moved, again); diff != "" {
		t.Errorf("the take-over applied twice (-first +second):\n%s", diff)
	}
	for home, want := range map[string]int{"n1": 0, "n2": 1} {
		if got := slices.Collect(h.table.SessionsOf(home)); len(got) != want {
			t.Errorf("%s has %d sessions after the move, want %d", home, len(got), want)
		}
	}
	// What it says of itself may change with it.
	do(h, opSignIn, signIn(takeOver("n2"), func(c *registry.SignIn) { c.Slots = 4 }))
	h.wantEvents("updated n1.laser")
	if w := slices.Collect(h.table.Workers()); len(w) != 1 || w[0].Epoch != 2 {
		t.Errorf("workers are %+v, want n1.laser at epoch 2", w)
	}
}

func TestTakeOverOfASessionThatEnded(t *testing.T) {
	h := open(t)
	s := do(h, opSignIn, signIn())
	do(h, opExpire, registry.Expire{Sessions: []registry.Fence{s.Fence()}, Reason: "home n1 lost"})
	h.wantEvents("expired n1.laser")
	back := do(h, opSignIn, signIn(takeOver("n2")))
	h.wantEvents("signed_in n1.laser")
	if back.Epoch != 1 || back.ID != "s1" || back.Home != "n2" {
		t.Errorf("came back as %+v; want session s1 at n2, epoch 1", back)
	}
	if e, ok := h.table.Ended("s1"); ok {
		t.Errorf("a live session is remembered as %+v", e)
	}
	// Somebody else was faster.
	do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"})
	do(h, opSignIn, signIn(session("s2")))
	refused(h, wire.CodeNameTaken, opSignIn, signIn(takeOver("n2")))
}

// A session an operator removed stays removed, however many end after it.
func TestRemovedStaysRemoved(t *testing.T) {
	h := open(t)
	do(h, opSignIn, signIn())
	gone := do(h, opRemove, registry.Remove{FullName: "n1.laser", Session: "s1", Reason: "a ghost"})
	h.wantEvents("removed n1.laser")
	if gone.ID != "s1" {
		t.Errorf("removed %+v, want session s1", gone)
	}
	for i := range registry.KeepEnded + 1 {
		id := fmt.Sprint("x", i)
		next := h.table.Next(h.index)
		if _, err := next.SignIn(signIn(name(id), session(id)), t0); err != nil {
			t.Fatal(err)
		}
		if _, err := next.SignOut(registry.SignOut{FullName: "n1." + id, Session: id}, t0); err != nil {
			t.Fatal(err)
		}
		h.table = next
	}
	if _, ok := h.table.Ended("x0"); ok {
		t.Errorf("the oldest of %d ended sessions is still remembered", registry.KeepEnded+1)
	}
	if e, ok := h.table.Ended(fmt.Sprint("x", registry.KeepEnded)); !ok || e.Kind != registry.EventSignedOut {
		t.Errorf("the newest ended session is %+v, %v; want it signed_out", e, ok)
	}
	refused(h, wire.CodeForbidden, opSignIn, signIn(takeOver("n2")))
	refused(h, wire.CodeForbidden, opSignIn, signIn())
	if _, err := try(h, opSignIn, signIn(takeOver("n2"))); !strings.Contains(fmt.Sprint(err), "removed by an operator: a ghost") {
		t.Errorf("the refusal reads %q; want the operator's reason in it", err)
	}
	do(h, opSignIn, signIn(session("s2"))) // the name is free all the same
	do(h, opRemove, registry.Remove{FullName: "n1.laser", Session: "s1", Reason: "a ghost"})
	h.wantEvents() // applied twice: s2 stays
	refused(h, wire.CodeNotFound, opRemove, registry.Remove{FullName: "n1.camera"})
	do(h, opRemove, registry.Remove{FullName: "n1.laser"}) // no fence: whoever it is
	h.wantEvents("removed n1.laser")
}

func TestExpireSkipsStaleFences(t *testing.T) {
	h := open(t)
	laser := do(h, opSignIn, signIn())
	camera := do(h, opSignIn, signIn(name("camera"), session("s2")))
	do(h, opSignIn, signIn(takeOver("n2"))) // the laser moves: its first fence is stale
	fences := []registry.Fence{
		laser.Fence(), camera.Fence(), camera.Fence(),
		{FullName: "n1.nobody", Session: "s9", Epoch: 1},
		{FullName: "n1.camera", Session: "s9", Epoch: 1},
	}
	got := do(h, opExpire, registry.Expire{Sessions: fences, Reason: "lease ran out"})
	if want := []string{"n1.camera"}; !slices.Equal(got, want) {
		t.Errorf("expired %q, want %q", got, want)
	}
	h.wantEvents("expired n1.camera")
	if again := do(h, opExpire, registry.Expire{Sessions: fences, Reason: "lease ran out"}); len(again) != 0 {
		t.Errorf("applied twice it expired %q, want nothing", again)
	}
	if e, ok := h.table.Ended("s2"); !ok || e.Reason != "lease ran out" || e.Home != "n1" {
		t.Errorf("s2 is remembered as %+v, %v; want the reason and its home", e, ok)
	}
}

func TestAnnounce(t *testing.T) {
	h := open(t)
	first, _ := h.table.Coordinator("n1")
	if again := do(h, opAnnounce, announce("n1")); again != first {
		t.Errorf("applied twice the row is %+v, want %+v", again, first)
	}
	h.wantEvents()

	thief := announce("n3")
	thief.Coordinator.Namespace = "n1"
	refused(h, wire.CodeConflict, opAnnounce, thief)

	elsewhere := announce("n1")
	elsewhere.Coordinator.PeerAddr = "other:7300"
	if got := do(h, opAnnounce, elsewhere); got.PeerAddr != "other:7300" || !got.Since.Equal(first.Since) {
		t.Errorf("after an address changed the row is %+v; want the new address, since %v", got, first.Since)
	}
	h.wantEvents("announced n1")

	reborn := announce("n1") // an empty disk is a new server of the old id
	reborn.Coordinator.ServerID, reborn.Coordinator.Namespace = "n1/b", "lab"
	if got := do(h, opAnnounce, reborn); got.ServerID != "n1/b" || got.Since.Equal(first.Since) {
		t.Errorf("the new server's row is %+v; want n1/b, since now", got)
	}
	if c, ok := h.table.NamespaceOwner("n1"); ok {
		t.Errorf("namespace n1 is still presided over by %+v", c)
	}
	if c, ok := h.table.NamespaceOwner("lab"); !ok || c.ID != "n1" {
		t.Errorf("namespace lab is presided over by %+v, %v; want n1", c, ok)
	}
	do(h, opAnnounce, thief) // n1 is free now
}

func TestAnnounceRefusesNonsense(t *testing.T) {
	h := open(t)
	for what, change := range map[string]func(*registry.Coordinator){
		"no id":                func(c *registry.Coordinator) { c.ID = "" },
		"a slash in the id":    func(c *registry.Coordinator) { c.ID = "n3/1" },
		"no server id":         func(c *registry.Coordinator) { c.ServerID = "" },
		"no namespace":         func(c *registry.Coordinator) { c.Namespace = "" },
		"a dotted namespace":   func(c *registry.Coordinator) { c.Namespace = "lab.host" },
		"reserved namespace":   func(c *registry.Coordinator) { c.Namespace = "Coordinator" },
		"a line in an address": func(c *registry.Coordinator) { c.PeerAddr = "a\nb" },
		"level below 1":        func(c *registry.Coordinator) { c.Level = -1 },
	} {
		c := announce("n3")
		change(&c.Coordinator)
		if _, err := try(h, opAnnounce, c); wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("%s: error %v, want invalid", what, err)
		}
	}
}

// Nobody judges the leases of a coordinator that is gone, so its sessions end
// with it.
func TestForget(t *testing.T) {
	h := open(t)
	do(h, opSignIn, signIn())
	do(h, opSignIn, signIn(name("camera"), session("s2"), func(c *registry.SignIn) { c.Home = "n2" }))
	refused(h, wire.CodeConflict, opForget, registry.Forget{ID: "n1", ServerID: "n1/b"})
	refused(h, wire.CodeNotFound, opForget, registry.Forget{ID: "n3", ServerID: "n3/a"})
	do(h, opForget, registry.Forget{ID: "n1", ServerID: "n1/a"})
	h.wantEvents("expired n1.laser", "forgotten n1")
	refused(h, wire.CodeNotFound, opForget, registry.Forget{ID: "n1", ServerID: "n1/a"})
	if _, ok := h.table.Session("n1.camera"); !ok {
		t.Error("n1.camera at n2 ended with coordinator n1")
	}
}

func TestListsAreInOrder(t *testing.T) {
	h := open(t)
	for i, n := range []string{"c", "a", "b", "d"} {
		do(h, opSignIn, signIn(name(n), session(fmt.Sprint("s", i)), func(c *registry.SignIn) {
			c.Home = []string{"n1", "n2"}[i%2]
			c.Slots = i % 3
		}))
	}
	names := func(seq func(func(registry.Session) bool)) (out []string) {
		for s := range seq {
			out = append(out, s.Name)
		}
		return out
	}
	for _, c := range []struct {
		what string
		got  []string
		want string
	}{
		{"all", names(h.table.Sessions()), "a b c d"},
		{"after n1.b", names(h.table.SessionsAfter("n1.b")), "c d"},
		{"after n1.bb, which is nobody", names(h.table.SessionsAfter("n1.bb")), "c d"},
		{"of n1", names(h.table.SessionsOf("n1")), "b c"},
		{"of n2", names(h.table.SessionsOf("n2")), "a d"},
		{"of n3", names(h.table.SessionsOf("n3")), ""},
		{"workers", names(h.table.Workers()), "a b"},
	} {
		if got := strings.Join(c.got, " "); got != c.want {
			t.Errorf("sessions, %s: got %q, want %q", c.what, got, c.want)
		}
	}
	for s := range h.table.Sessions() { // stopping early is allowed
		if s.Name == "b" {
			break
		}
	}
}

// What Next returns goes its own way; what it was copied from is frozen.
func TestViewsAreFrozen(t *testing.T) {
	h := open(t)
	var views []*registry.Table
	var prints []string
	for i := range 80 {
		id := fmt.Sprint("s", i)
		s := do(h, opSignIn, signIn(name(id), session(id)))
		if i%3 == 0 {
			do(h, opSignOut, registry.SignOut{FullName: s.FullName, Session: s.ID})
		}
		views, prints = append(views, h.table), append(prints, print(h.table))
	}
	for i, v := range views {
		if print(v) != prints[i] {
			t.Fatalf("view %d of %d changed after it was taken", i, len(views))
		}
	}
}

// Every home is named once, whatever lives there.
func TestHomes(t *testing.T) {
	h := open(t)
	do(h, opAnnounce, announce("n10"))
	for i, home := range []string{"n2", "n1", "n10", "n1", "n2"} {
		do(h, opSignIn, signIn(name(fmt.Sprint("c", i)), session(fmt.Sprint("s", i)), func(c *registry.SignIn) { c.Home = home }))
	}
	if got := slices.Collect(h.table.Homes()); !slices.Equal(got, []string{"n1", "n10", "n2"}) {
		t.Errorf("got %v, want n1, n10, n2", got)
	}
	for home := range h.table.Homes() { // stopping early is allowed
		if home != "n1" {
			t.Errorf("%s after the loop had ended", home)
		}
		break
	}
}

func attempt(n uint64) func(*registry.SignIn) {
	return func(c *registry.SignIn) { c.Attempt = n }
}

// An attempt to take a session over that is carried out after a later one
// changes nothing, whether the session lives or has ended.
func TestALateAttemptChangesNothing(t *testing.T) {
	h := open(t)
	first := do(h, opSignIn, signIn())
	moved := do(h, opSignIn, signIn(takeOver("n2"), attempt(2)))
	h.wantEvents("moved n1.laser")
	if moved.Home != "n2" || moved.Attempt != 2 {
		t.Fatalf("attempt 2 made it %+v; want it at n2", moved)
	}
	for _, late := range []registry.SignIn{signIn(takeOver("n1"), attempt(1)), signIn(takeOver("n1"), attempt(2)), signIn(takeOver("n2"), attempt(1))} {
		refused(h, wire.CodeConflict, opSignIn, late)
	}
	if again := do(h, opSignIn, signIn(takeOver("n2"), attempt(2))); again.Index != moved.Index {
		t.Errorf("attempt 2 applied twice made it %+v", again)
	}
	if again := do(h, opSignIn, signIn()); again.Home != "n2" { // the first sign-in, late
		t.Errorf("the first sign-in applied again made it %+v; want it at n2", again)
	}
	if s, _ := h.table.Session(first.FullName); s.Home != "n2" || s.Epoch != 2 {
		t.Errorf("after late attempts it is %+v; want it at n2, epoch 2", s)
	}
	// One without a number is of a client that does not count.
	if s := do(h, opSignIn, signIn(takeOver("n1"))); s.Home != "n1" || s.Attempt != 2 {
		t.Errorf("an attempt without a number made it %+v; want it at n1, attempt 2 remembered", s)
	}
	do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"})
	refused(h, wire.CodeConflict, opSignIn, signIn(takeOver("n2"), attempt(2)))
	if s := do(h, opSignIn, signIn(takeOver("n2"), attempt(3))); s.Home != "n2" || s.Attempt != 3 {
		t.Errorf("attempt 3 made it %+v; want it back at n2", s)
	}
}

// A take-over that was sent before a sign-out, to a coordinator that stood still,
// does not bring the session back, whatever its number; nor if the lease ran out
// before the sign-out.
func TestAFinalSignOutIsForGood(t *testing.T) {
	for _, expires := range []bool{false, true} {
		h := open(t)
		s := do(h, opSignIn, signIn())
		if expires {
			do(h, opExpire, registry.Expire{Sessions: []registry.Fence{s.Fence()}, Reason: "its lease ran out"})
		}
		do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1", Final: true})
		refused(h, wire.CodeConflict, opSignIn, signIn(takeOver("n2"), attempt(3)))
		refused(h, wire.CodeConflict, opSignIn, signIn(takeOver("n2")))
		do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"}) // applied twice, without the word
		refused(h, wire.CodeConflict, opSignIn, signIn(takeOver("n2")))
		do(h, opSignIn, signIn(session("s2"))) // the name is free
	}
}

// A sign-in that is tried again elsewhere goes on there, whichever attempt is
// carried out first.
func TestALaterAttemptOfASignInGoesOnWhereItWasMade(t *testing.T) {
	h := open(t)
	do(h, opSignIn, signIn())
	s := do(h, opSignIn, signIn(func(c *registry.SignIn) { c.Home = "n2" }, attempt(1)))
	if s.Home != "n2" || s.Epoch != 2 {
		t.Errorf("the second attempt made it %+v; want it at n2", s)
	}
	h = open(t)
	do(h, opSignIn, signIn(func(c *registry.SignIn) { c.Home = "n2" }, attempt(1)))
	if s := do(h, opSignIn, signIn()); s.Home != "n2" || s.Epoch != 1 {
		t.Errorf("the first attempt, late, made it %+v; want it at n2", s)
	}
}

// A take-over keeps the terms it does not name; one of a session that has ended
// begins with its own.
func TestATakeOverKeepsWhatItDoesNotName(t *testing.T) {
	keep := func(c *registry.SignIn) {
		c.Keep, c.Lease = true, 0
	}
	h := open(t)
	was := do(h, opSignIn, signIn(func(c *registry.SignIn) {
		c.Place, c.Labels, c.Lease = wire.Place{Host: "lab1"}, registry.LabelsOf(map[string]string{"room": "7"}), time.Minute
		c.Runtimes, c.Slots = []string{"sh"}, 4
	}))
	got := do(h, opSignIn, signIn(takeOver("n2"), keep))
	was.Home, was.Epoch, was.Index = "n2", 2, got.Index
	if diff := cmp.Diff(was, got); diff != "" {
		t.Errorf("a take-over that names nothing (-want +got):\n%s", diff)
	}
	got = do(h, opSignIn, signIn(takeOver("n2"), keep, func(c *registry.SignIn) {
		c.Place, c.Lease = wire.Place{Group: "optics"}, 2*time.Minute
	}))
	if want := (wire.Place{Group: "optics"}); got.Place != want || got.Lease != 2*time.Minute || got.Slots != 4 {
		t.Errorf("a take-over that names a place and a lease made it %+v", got)
	}
	do(h, opSignOut, registry.SignOut{FullName: "n1.laser", Session: "s1"})
	if got := do(h, opSignIn, signIn(takeOver("n2"), keep)); got.Place != (wire.Place{}) || got.Lease != registry.ImpliedLease || got.Slots != 0 {
		t.Errorf("one that ended came back as %+v; want nothing of before", got)
	}
}
