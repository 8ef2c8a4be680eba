package control_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

const key = "key-of-sixteen-bytes"

// A component signs in, has a mailbox at once, and everybody sees it.
func TestSignIn(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.signIn(t, "laser")
		if in.FullName != "n1.laser" || in.Home != "n1" || time.Duration(in.Lease) != 15*time.Second || in.Index == 0 {
			t.Errorf("signed in as %+v, want n1.laser at home n1 for 15s with an index", in)
		}
		if !n1.mail.attached(in.Session) {
			t.Error("no mailbox right after the sign-in")
		}
		got, fresh, err := n2.Component(t.Context(), anyone, control.Read{Index: in.Index}, "n1.laser")
		noError(t, err)
		if got.Session != in.Session || got.Kind != "rest" || fresh.Leader != "n1" || fresh.Index < in.Index {
			t.Errorf("n2 shows %+v (%+v), want the session with kind rest, leader n1", got, fresh)
		}
		other, err := n2.SignIn(t.Context(), native(), wire.SignIn{Name: "stage", Namespace: "n1"}, "")
		noError(t, err)
		if other.FullName != "n1.stage" || other.Home != "n2" {
			t.Errorf("a sign-in at n2 into n1 gave %+v, want n1.stage at home n2", other)
		}
		_, err = n2.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser", Namespace: "n1"}, "")
		refused(t, err, wire.CodeNameTaken, "n1.laser")
	}, "n1", "n2")
}

// Every field is checked before anything is proposed, and the refusal names it.
func TestSignInRefusals(t *testing.T) {
	many := map[string]string{}
	for i := range 65 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	runtimes := make([]string, 33)
	cases := []struct {
		field string
		in    wire.SignIn
	}{
		{"name", wire.SignIn{}},
		{"name", wire.SignIn{Name: "a.b"}},
		{"name", wire.SignIn{Name: "coordinator"}},
		{"name", wire.SignIn{Name: strings.Repeat("x", 256)}},
		{"name", wire.SignIn{Name: "a\nb"}},
		{"namespace", wire.SignIn{Name: "a", Namespace: "x.y"}},
		{"lease", wire.SignIn{Name: "a", Lease: wire.Duration(time.Millisecond)}},
		{"lease", wire.SignIn{Name: "a", Lease: -1}},
		{"lease", wire.SignIn{Name: "a", Lease: wire.Duration(25 * time.Hour)}},
		{"slots", wire.SignIn{Name: "a", Slots: -1}},
		{"slots", wire.SignIn{Name: "a", Slots: 1025}},
		{"labels", wire.SignIn{Name: "a", Labels: many}},
		{"labels", wire.SignIn{Name: "a", Labels: map[string]string{"": "v"}}},
		{"labels", wire.SignIn{Name: "a", Labels: map[string]string{"k=": "v"}}},
		{"labels", wire.SignIn{Name: "a", Labels: map[string]string{"k": strings.Repeat("v", 1024)}}},
		{"labels", wire.SignIn{Name: "a", Labels: map[string]string{"k": "a\x00b"}}},
		{"labels", wire.SignIn{Name: "a", Labels: map[string]string{"k": "\xff"}}},
		{"runtimes", wire.SignIn{Name: "a", Runtimes: runtimes}},
		{"runtimes", wire.SignIn{Name: "a", Runtimes: []string{"../../bin/sh"}}},
		{"runtimes", wire.SignIn{Name: "a", Runtimes: []string{"sh", "sh"}}},
		{"place", wire.SignIn{Name: "a", Place: wire.Place{Host: strings.Repeat("h", 256)}}},
		{"secret", wire.SignIn{Name: "a", Session: "s"}},
		{"session", wire.SignIn{Name: "a", Secret: "s"}},
	}
	runCluster(t, func(t *testing.T, w *testCluster) {
		before := w.nodes["n1"].machine.View().Index
		for _, c := range cases {
			_, err := w.nodes["n1"].SignIn(t.Context(), anyone, c.in, "")
			refused(t, err, wire.CodeInvalid, "")
			if got := err.(*wire.Error).Field; got != c.field {
				t.Errorf("%+v: the refusal names %q, want %q", c.in, got, c.field)
			}
		}
		for _, bad := range []string{"short", strings.Repeat("x", 129), "sixteen bytes é..", "with a blank in it"} {
			_, err := w.nodes["n1"].SignIn(t.Context(), anyone, wire.SignIn{Name: "a"}, bad)
			refused(t, err, wire.CodeInvalid, "idempotency key")
		}
		_, err := w.nodes["n1"].SignIn(t.Context(), anyone, wire.SignIn{Name: "a", Namespace: "mars"}, "")
		refused(t, err, wire.CodeNotFound, "mars")
		if after := w.nodes["n1"].machine.View().Index; after != before+1 {
			t.Errorf("%d entries for refusals, want only that of the unknown namespace", after-before)
		}
	}, "n1")
}

// The same key gives the same session, also at another coordinator and when
// the first answer was lost; another name under the same key is another one.
func TestSignInTwiceWithOneKey(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		ask := wire.SignIn{Name: "laser", Namespace: "n1"}
		one, err := n1.SignIn(t.Context(), anyone, ask, key)
		noError(t, err)
		two, err := n2.SignIn(t.Context(), anyone, ask, key)
		noError(t, err)
		if one.Session != two.Session || one.Secret != two.Secret || two.Home != "n1" {
			t.Errorf("repeated: %+v and %+v, want one session, at home n1", one, two)
		}
		if n2.mail.attached(two.Session) {
			t.Error("n2 opened a mailbox for a session that is at home at n1")
		}
		ask.Name = "stage"
		three, err := n1.SignIn(t.Context(), anyone, ask, key)
		noError(t, err)
		if three.Session == one.Session || three.Secret == one.Secret {
			t.Error("another name under the same key has the same session or secret")
		}
		ask.Name = "laser"
		_, err = n1.SignIn(t.Context(), anyone, ask, key+"x")
		refused(t, err, wire.CodeNameTaken, "laser")
	}, "n1", "n2")
}

// With session and secret a component moves to another coordinator: name,
// session and secret stay, the mailbox moves.
func TestTakeOverElsewhere(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.signIn(t, "laser")
		again := wire.SignIn{Name: "laser", Namespace: "n1", Session: in.Session, Secret: in.Secret}
		moved, err := n2.SignIn(t.Context(), anyone, again, "")
		noError(t, err)
		if moved.Home != "n2" || moved.Session != in.Session || moved.Secret != in.Secret {
			t.Errorf("took over as %+v, want the same session at home n2", moved)
		}
		synctest.Wait()
		if n1.mail.attached(in.Session) || !n2.mail.attached(in.Session) {
			t.Errorf("mailbox at n1 %v, at n2 %v; want it at n2 only", n1.mail.attached(in.Session), n2.mail.attached(in.Session))
		}
		forged := again
		forged.Secret = in.Session + "." + strings.Repeat("A", 43)
		_, err = n1.SignIn(t.Context(), anyone, forged, "")
		refused(t, err, wire.CodeForbidden, "")
		forged.Secret = "weak"
		_, err = n1.SignIn(t.Context(), anyone, forged, "")
		refused(t, err, wire.CodeForbidden, in.Session)
	}, "n1", "n2")
}

// A take-over keeps the place, the labels and the lease that it does not name, and
// one that comes after a later one moves nothing.
func TestTakeOverKeepsTermsAndOrder(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in, err := n1.SignIn(t.Context(), anyone, wire.SignIn{
			Name: "laser", Labels: map[string]string{"room": "7"}, Place: wire.Place{Host: "lab1"}, Lease: wire.Duration(time.Minute),
		}, "")
		noError(t, err)
		again := wire.SignIn{Name: "laser", Namespace: "n1", Session: in.Session, Secret: in.Secret, Attempt: 2}
		moved, err := n2.SignIn(t.Context(), anyone, again, "")
		noError(t, err)
		if moved.Home != "n2" || moved.Lease != wire.Duration(time.Minute) || moved.Attempt != 2 {
			t.Errorf("taken over as %+v; want it at n2 with its lease of a minute, attempt 2", moved)
		}
		c, _, err := n2.Component(t.Context(), anyone, control.Read{}, in.FullName)
		noError(t, err)
		if c.Place.Host != "lab1" || c.Labels["room"] != "7" {
			t.Errorf("after the take-over it is %+v; want its place and its label", c)
		}
		again.Attempt = 1
		_, err = n1.SignIn(t.Context(), anyone, again, "")
		refused(t, err, wire.CodeConflict, "attempt 1")
		if s, _ := n1.machine.View().Registry.Session(in.FullName); s.Home != "n2" {
			t.Errorf("a late attempt moved it to %s", s.Home)
		}
	}, "n1", "n2")
}

// A component that an operator removed stays removed; one that expired may
// come back under its old session.
func TestRemovedStaysRemoved(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		_, err := n1.RemoveComponent(t.Context(), anyone, "n1.laser", "it misbehaves")
		noError(t, err)
		if n1.mail.attached(in.Session) {
			t.Error("a removed component has a mailbox")
		}
		back := wire.SignIn{Name: "laser", Session: in.Session, Secret: in.Secret}
		_, err = n1.SignIn(t.Context(), anyone, back, "")
		refused(t, err, wire.CodeForbidden, "it misbehaves")
		_, err = n1.RemoveComponent(t.Context(), anyone, "n1.laser", "")
		refused(t, err, wire.CodeNotFound, "n1.laser")

		in = n1.signIn(t, "stage")
		time.Sleep(16 * time.Second)
		synctest.Wait()
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), "n1.stage")
		refused(t, err, wire.CodeNotFound, "lease ran out")
		_, err = n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "stage", Session: in.Session, Secret: in.Secret}, "")
		noError(t, err)
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), "n1.stage")
		noError(t, err)
	}, "n1")
}

// A write ends as what the log says of it, and is counted so.
func TestOutcomesOfWrites(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		n1.signIn(t, "laser")
		w.failProposals(wire.NotTried("no leader"))
		_, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "stage"}, "")
		refused(t, err, wire.CodeUnavailable, "no leader")
		w.failProposals(errText("the link broke"))
		_, err = n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "stage"}, "")
		refused(t, err, wire.CodeUnknown, "the link broke")
		w.failProposals(nil)
		_, err = n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser"}, "")
		refused(t, err, wire.CodeNameTaken, "")
		s, err := n1.Status(t.Context(), anyone)
		noError(t, err)
		want := map[string]uint64{"done": 1, "refused": 1, "not_tried": 1, "unknown": 1}
		for k, n := range want {
			if s.WriteCounts[k] != n {
				t.Errorf("%d writes %s, want %d (all: %v)", s.WriteCounts[k], k, n, s.WriteCounts)
			}
		}
	}, "n1")
}

type errText string

func (e errText) Error() string { return string(e) }

// A sign-in that comes before the coordinator has taken its place waits for it, within the request's time.
func TestSignInWaitsForThePlace(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		self := w.self("n1")
		w.apply(registry.KindForget, registry.Forget{ID: self.ID, ServerID: self.ServerID})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n1.SignIn(ctx, anyone, wire.SignIn{Name: "early"}, "")
		refused(t, err, wire.CodeUnavailable, "n1")
		type answer struct {
			in  wire.SignedIn
			err error
		}
		answers := make(chan answer, 1)
		go func() {
			in, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser"}, "")
			answers <- answer{in, err}
		}()
		synctest.Wait()
		w.apply(registry.KindAnnounce, registry.Announce{Coordinator: self})
		got := <-answers
		noError(t, got.err)
		if got.in.FullName != "n1.laser" {
			t.Errorf("signed in as %q, want n1.laser", got.in.FullName)
		}
	}, "n1")
}
