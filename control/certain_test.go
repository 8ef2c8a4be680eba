package control_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// takeOver lets a session move to s, whether it had ended or not.
func (s *testNode) takeOver(t *testing.T, in wire.SignedIn) {
	t.Helper()
	_, name, _ := strings.Cut(in.FullName, ".")
	_, err := s.SignIn(t.Context(), anyone, wire.SignIn{
		Name: name, Namespace: in.Namespace, Session: in.Session, Secret: in.Secret,
	}, "")
	noError(t, err)
}

// expire ends a session that was signed in once, so that it may come back.
func (w *testCluster) expire(in wire.SignedIn) {
	w.apply(registry.KindExpire, registry.Expire{
		Sessions: []registry.Fence{{FullName: in.FullName, Session: in.Session, Epoch: 1}}, Reason: "its lease ran out",
	})
}

// A coordinator whose view is behind tells nobody what a newer view would not
// tell: that its session has ended, that the secret is wrong, that a name is
// not signed in.
func TestACertainNoIsOfAFreshView(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n3 := w.nodes["n1"], w.nodes["n3"]
		// Each begins with n3 behind the moment at which the session is live.
		ended := func(in wire.SignedIn) { // n3 has seen its end, not its return
			w.expire(in)
			w.lag("n3")
			n1.takeOver(t, in)
		}
		renamed := func(in wire.SignedIn) wire.SignedIn { // n3 has it under another name
			w.expire(in)
			in.FullName = "n1.other"
			n1.takeOver(t, in)
			return in
		}
		asks := map[string]func(in wire.SignedIn) error{
			"heartbeat": func(in wire.SignedIn) error {
				_, err := n3.Heartbeat(t.Context(), by(in.Secret), in.FullName)
				return err
			},
			"sign-out": func(in wire.SignedIn) error {
				_, err := n3.SignOut(t.Context(), by(in.Secret), in.FullName)
				return err
			},
			"send": func(in wire.SignedIn) error {
				_, err := n3.Send(t.Context(), by(in.Secret), wire.SendMessage{To: in.FullName, Content: []byte(`1`)}, "")
				return err
			},
			"inbox": func(in wire.SignedIn) error {
				box, err := n3.Inbox(t.Context(), by(in.Secret), in.FullName)
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err = box.Receive(ctx, 0, 0)
				return err
			},
			"call": func(in wire.SignedIn) error {
				_, err := n3.call(t, in.Secret, "pong", nil)
				return err
			},
			"removal": func(in wire.SignedIn) error {
				_, err := n3.RemoveComponent(t.Context(), anyone, in.FullName, "")
				return err
			},
		}
		for what, ask := range asks {
			in := n1.signIn(t, "ended-"+what)
			ended(in)
			if err := ask(in); err != nil {
				t.Errorf("%s of a session that n3 takes for ended: %v, want none", what, err)
			}
			moved := n1.signIn(t, "moved-"+what)
			synctest.Wait()
			w.lag("n3")
			w.lag("n2") // the home of before, as n3 knows it, is behind as well
			n1.takeOver(t, moved)
			if err := ask(moved); err != nil {
				t.Errorf("%s of a session that moved: %v, want none", what, err)
			}
			fresh := func() wire.SignedIn { w.lag("n3"); return n1.signIn(t, "new-"+what) }()
			if err := ask(fresh); err != nil {
				t.Errorf("%s of a session that n3 does not know yet: %v, want none", what, err)
			}
		}
		in := n1.signIn(t, "laser")
		synctest.Wait()
		w.lag("n3")
		if _, err := n3.Heartbeat(t.Context(), by(renamed(in).Secret), "n1.other"); err != nil {
			t.Errorf("a session that n3 knows by its name of before: %v, want none", err)
		}
	}, "n1", "n2", "n3")
}

// A heartbeat, a send and an inbox follow a session whose home of before says
// that it moved.
func TestASessionIsFollowedToItsHome(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2, n3 := w.nodes["n1"], w.nodes["n2"], w.nodes["n3"]
		in := n1.signIn(t, "laser")
		synctest.Wait()
		w.lag("n3")
		n2.takeOver(t, in)
		beat, err := n3.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		if beat.Home != "n2" {
			t.Errorf("the beat is answered by %s, want n2", beat.Home)
		}
		w.lag("n3")
		n1.takeOver(t, in)
		_, err = n3.Send(t.Context(), by(in.Secret), wire.SendMessage{To: in.FullName, Content: []byte(`1`)}, "")
		noError(t, err)
		w.lag("n3")
		n2.takeOver(t, in)
		n2.Send(t.Context(), by(in.Secret), wire.SendMessage{To: in.FullName, Content: []byte(`2`)}, "")
		if got := n3.inbox(t, in, 0); len(got) != 1 {
			t.Errorf("got %d messages, want 1", len(got))
		}
		// One that waits for mail at the home it leaves goes on at the next.
		in = n2.signIn(t, "stage")
		box, err := n2.Inbox(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		type answer struct {
			messages int
			err      error
		}
		waits := make(chan answer, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			got, err := box.Receive(ctx, 0, 0)
			waits <- answer{len(got), err}
		}()
		synctest.Wait()
		n1.takeOver(t, in)
		synctest.Wait()
		_, err = n1.Send(t.Context(), by(in.Secret), wire.SendMessage{To: in.FullName, Content: []byte(`3`)}, "")
		noError(t, err)
		if got := <-waits; got != (answer{1, nil}) {
			t.Errorf("who waited while its session moved got %+v, want 1 message", got)
		}
	}, "n1", "n2", "n3")
}

// An operator's removal hits who has the name now, not who had it in a view
// that is behind; and a repeat is answered that it is done.
func TestARemovalHitsWhoHasTheNameNow(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n3 := w.nodes["n1"], w.nodes["n3"]
		first := n1.signIn(t, "laser")
		_, err := n1.RemoveComponent(t.Context(), anyone, first.FullName, "")
		noError(t, err)
		second := n1.signIn(t, "laser")
		synctest.Wait()
		w.lag("n3") // which has the second
		_, err = n1.RemoveComponent(t.Context(), anyone, second.FullName, "")
		noError(t, err)
		third := n1.signIn(t, "laser")
		_, err = n3.RemoveComponent(t.Context(), anyone, third.FullName, "")
		noError(t, err)
		if _, live := n3.machine.View().Registry.Session(third.FullName); live {
			t.Error("n3 answered that it is done, and the component is signed in")
		}
		_, err = n3.RemoveComponent(t.Context(), anyone, third.FullName, "")
		refused(t, err, wire.CodeNotFound, "not signed in")
	}, "n1", "n3")
}

// Where nobody newer can be asked, the answer is not a no.
func TestNoCertainNoWithoutALeader(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		_, err := n1.SignOut(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		live := n1.signIn(t, "stage")
		w.failProposals(wire.NotTried("no leader"))
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeUnavailable, "nobody newer can be asked")
		_, err = n1.Heartbeat(t.Context(), by("garbage"), "n1.nobody")
		refused(t, err, wire.CodeUnavailable, "nobody newer can be asked")
		_, err = n1.Heartbeat(t.Context(), by(live.Secret), live.FullName)
		noError(t, err)
		_, err = n1.Heartbeat(t.Context(), by("garbage"), live.FullName) // no view could make that a secret
		refused(t, err, wire.CodeForbidden, live.FullName)
	}, "n1")
}

// A yes and what no view can make a secret ask nobody.
func TestQuickAnswersAskNobody(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		synctest.Wait()
		before := n1.leaderReads
		_, err := n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		_, err = n1.Send(t.Context(), by(in.Secret), wire.SendMessage{To: in.FullName, Content: []byte(`1`)}, "")
		noError(t, err)
		for _, secret := range []string{"", "garbage", strings.Repeat("x", 1<<16)} {
			if _, err := n1.Heartbeat(t.Context(), by(secret), in.FullName); err == nil {
				t.Errorf("the secret %.10q is taken", secret)
			}
			if _, err := n1.Send(t.Context(), by(secret), wire.SendMessage{To: in.FullName}, ""); err == nil {
				t.Errorf("the secret %.10q is taken", secret)
			}
		}
		if n1.leaderReads != before {
			t.Errorf("the leader was asked %d times, want never", n1.leaderReads-before)
		}
	}, "n1")
}

// A worker's output is not refused by a home that has not heard of its part.
func TestALogIsOfAFreshView(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.worker(t, "w")
		synctest.Wait()
		w.lag("n1")
		n2.submit(t, "j1", 2)
		ref := w.assign("j1", 0, 1, in)
		_, err := n1.call(t, in.Secret, "append_log", wire.AppendLog{PartRef: ref, Data: []byte("x")})
		noError(t, err)
		w.lag("n1")
		w.assign("j1", 1, 1, in)
		_, err = n1.PartLog(t.Context(), anyone, "j1", work.LogQuery{Part: 1, Attempt: 1})
		noError(t, err)
	}, "n1", "n2")
}

// A sender whom the receiver's home does not know as at home here has lost its
// session or moved: that it hears, not that it may not send.
func TestASendOfOneThatIsNotAtHomeAnyMore(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		send := func(in wire.SignedIn) error {
			_, err := n1.Send(t.Context(), by(in.Secret), wire.SendMessage{To: in.FullName, Content: []byte(`1`)}, "")
			return err
		}
		n1.mail.foreign = true
		live, ended, moved := n1.signIn(t, "live"), n1.signIn(t, "ended"), n1.signIn(t, "moved")
		refused(t, send(live), wire.CodeUnavailable, "not delivered")
		w.lag("n1")
		_, err := n2.SignOut(t.Context(), by(ended.Secret), ended.FullName)
		noError(t, err)
		refused(t, send(ended), wire.CodeNotFound, "signed out; sign in again")
		w.lag("n1")
		n2.takeOver(t, moved)
		noError(t, send(moved)) // from its new home
	}, "n1", "n2")
}
