package control_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A heartbeat counts at whichever coordinator it comes in: it is passed on to
// the home.
func TestHeartbeatIsPassedOnToTheHome(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.signIn(t, "laser")
		for range 6 {
			time.Sleep(10 * time.Second)
			beat, err := n2.Heartbeat(t.Context(), by(in.Secret), in.FullName)
			noError(t, err)
			if beat.Home != "n1" || beat.Session != in.Session || time.Duration(beat.Lease) != 15*time.Second {
				t.Fatalf("the beat is answered %+v, want home n1 and a lease of 15s", beat)
			}
		}
		w.setUnreachable("n1", true)
		_, err := n2.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeUnavailable, "home n1 is not reached: take the name over")
		w.setUnreachable("n1", false)
		time.Sleep(16 * time.Second)
		synctest.Wait()
		_, err = n2.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeNotFound, registryReason)
		if n1.mail.attached(in.Session) {
			t.Error("an expired session has a mailbox")
		}
	}, "n1", "n2")
}

const registryReason = "the session of n1.laser ended: its lease ran out"

// A caller that is not the session is refused, with the reason.
func TestSecrets(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		laser, stage := n1.signIn(t, "laser"), n1.signIn(t, "stage")
		forged := laser.Session + "." + strings.Repeat("A", 43)
		cases := []struct {
			what, full, secret string
			code               wire.Code
			says               string
		}{
			{"none", "n1.laser", "", wire.CodeUnauthorized, "X-Session"},
			{"garbage", "n1.laser", "garbage", wire.CodeForbidden, "n1.laser"},
			{"garbage for nobody", "n1.nobody", "garbage", wire.CodeNotFound, "n1.nobody"},
			{"forged", "n1.laser", forged, wire.CodeForbidden, "not the secret of n1.laser"},
			{"somebody else's", "n1.laser", stage.Secret, wire.CodeForbidden, "n1.stage, not of n1.laser"},
			{"of nobody", "n1.laser", "x." + strings.Repeat("A", 43), wire.CodeNotFound, "sign in"},
			{"endless", "n1.laser", strings.Repeat("x", 1<<20), wire.CodeForbidden, ""},
		}
		for _, c := range cases {
			_, err := n1.Heartbeat(t.Context(), by(c.secret), c.full)
			t.Log(c.what, err)
			refused(t, err, c.code, c.says)
			_, err = n1.SignOut(t.Context(), by(c.secret), c.full)
			refused(t, err, c.code, c.says)
			_, err = n1.Inbox(t.Context(), by(c.secret), c.full)
			refused(t, err, c.code, c.says)
		}
		_, err := n1.Send(t.Context(), anyone, wire.SendMessage{To: "stage"}, "")
		refused(t, err, wire.CodeUnauthorized, "X-Session")
		_, err = n1.call(t, "garbage", "pong", nil)
		refused(t, err, wire.CodeUnauthorized, "")
		row, _ := n1.machine.View().Registry.Session("n1.laser")
		if row.SecretHash != registry.HashSecret(laser.Secret) || strings.Contains(row.SecretHash, laser.Secret) {
			t.Error("the log has something else than the hash of the secret")
		}
	}, "n1")
}

// Sign-out works anywhere, with the home dead too, and tells twice the same.
func TestSignOutAnywhere(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.signIn(t, "laser")
		w.setUnreachable("n1", true)
		index, err := n2.SignOut(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		if index <= in.Index {
			t.Errorf("signed out at index %d, want one behind %d", index, in.Index)
		}
		synctest.Wait()
		if n1.mail.attached(in.Session) {
			t.Error("the mailbox outlives its session")
		}
		_, err = n1.SignOut(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeNotFound, "signed out")
		other := n1.signIn(t, "laser")
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeNotFound, "signed out")
		_, err = n1.Heartbeat(t.Context(), by(other.Secret), other.FullName)
		noError(t, err)
	}, "n1", "n2")
}

// A coordinator that was restarted opens the mailboxes of its sessions again
// and grants every lease its full term.
func TestRestartGrantsLeasesAnew(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		time.Sleep(14 * time.Second)
		n1.stop()
		time.Sleep(time.Hour)
		w.start("n1")
		synctest.Wait()
		if !n1.mail.attached(in.Session) {
			t.Fatal("no mailbox after the restart")
		}
		time.Sleep(14 * time.Second)
		_, err := n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		time.Sleep(16 * time.Second)
		synctest.Wait()
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeNotFound, registryReason)
	}, "n1")
}

// What the log cannot take now is expired later, and a beat in between saves
// the session.
func TestExpiryWaitsForTheLog(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		laser, stage := n1.signIn(t, "laser"), n1.signIn(t, "stage")
		w.failProposals(wire.NotTried("no leader"))
		time.Sleep(time.Minute)
		synctest.Wait() // a beat while the end is being proposed promises nothing
		_, err := n1.Heartbeat(t.Context(), by(stage.Secret), stage.FullName)
		noError(t, err)
		w.failProposals(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		_, err = n1.Heartbeat(t.Context(), by(laser.Secret), laser.FullName)
		refused(t, err, wire.CodeNotFound, registryReason)
		_, err = n1.Heartbeat(t.Context(), by(stage.Secret), stage.FullName)
		noError(t, err)
	}, "n1")
}

// A take-over in the same place changes the terms of the lease.
func TestUpdatedTerms(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		_, err := n1.SignIn(t.Context(), anyone, wire.SignIn{
			Name: "laser", Session: in.Session, Secret: in.Secret, Lease: wire.Duration(time.Minute),
		}, "")
		noError(t, err)
		time.Sleep(50 * time.Second)
		beat, err := n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		if time.Duration(beat.Lease) != time.Minute {
			t.Errorf("the lease is %v, want the new 1m", time.Duration(beat.Lease))
		}
	}, "n1")
}

// Every request of its own is a sign of life: who asks for its mail again and
// again, here or elsewhere, needs no heartbeat.
func TestLongPollKeepsAlive(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.signIn(t, "laser")
		for _, at := range []*testNode{n1, n2, n1, n2, n1, n2} {
			b, err := at.Inbox(t.Context(), by(in.Secret), in.FullName)
			noError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err = b.Receive(ctx, 0, 0)
			cancel()
			noError(t, err)
		}
	}, "n1", "n2")
}

// A coordinator that is out of touch with the log promises no lease: whoever leads
// may be counting it as lost.
func TestOutOfTouchPromisesNothing(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		in := n1.signIn(t, "laser")
		w.outOfTouch("n1", true)
		for _, at := range []*testNode{n1, n2} {
			_, err := at.Heartbeat(t.Context(), by(in.Secret), in.FullName)
			refused(t, err, wire.CodeUnavailable, "out of touch")
		}
		_, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "stage"}, "")
		refused(t, err, wire.CodeUnavailable, "out of touch")
		_, err = n2.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser", Namespace: "n1", Session: in.Session, Secret: in.Secret}, "")
		noError(t, err)
		w.outOfTouch("n1", false)
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
	}, "n1", "n2")
}

// A heartbeat that comes while the session is being ended, since its lease ran out,
// does not learn that the lease runs anew.
func TestAHeartbeatPromisesNothingToASessionThatIsBeingEnded(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		w.failProposals(wire.Unknown(context.DeadlineExceeded))
		time.Sleep(16 * time.Second)
		_, err := n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeUnavailable, "its session is being ended")
		w.failProposals(nil)
		time.Sleep(2 * time.Second)
		_, err = n1.Heartbeat(t.Context(), by(in.Secret), in.FullName)
		refused(t, err, wire.CodeNotFound, registryReason)
	}, "n1")
}

// A repeated sign-in begins its lease twice, wherever it is repeated.
func TestASignInToldTwiceRenewsItsLease(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		const key = "a key of sixteen"
		signIn := func(at *testNode) (wire.SignedIn, error) {
			return at.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser", Namespace: "n1"}, strings.ReplaceAll(key, " ", "-"))
		}
		for _, at := range []*testNode{n1, n2, n1, n2, n1} {
			in, err := signIn(at)
			noError(t, err)
			if in.Home != "n1" {
				t.Fatalf("repeated at %s the home is %s, want n1", at.id, in.Home)
			}
			time.Sleep(10 * time.Second)
		}
		w.outOfTouch("n1", true)
		_, err := signIn(n2)
		refused(t, err, wire.CodeUnknown, "does not hold its lease")
	}, "n1", "n2")
}
