package control_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// The state learns in which hour a token was used last, by requests and by its sessions, and costs one write an hour,
// however many requests and tokens there are.
func TestWhenTokensWereUsed(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		w.newestLevel()
		for _, secret := range []string{"one", "two", "never", "gone"} {
			w.create(secret, "components:read@*")
		}
		began := n1.State().Index
		session := n1.AsSession(registry.Session{Kind: string(control.DoorNative), FullName: "n1.laser", Token: "t_two"})
		used := func(secret string) time.Time {
			row, _ := n1.State().Access.Token("t_" + secret)
			return row.LastUsed
		}
		look := func(minutes int, writes uint64) {
			t.Helper()
			time.Sleep(time.Duration(minutes) * time.Minute)
			synctest.Wait()
			if got := n1.State().Index - began; got != writes {
				t.Fatalf("after %v: %d writes, want %d", time.Now().UTC(), got, writes)
			}
		}
		ask := func() {
			t.Helper()
			for range 100 {
				_, err := n1.Names(n1.bearer(t, "one"))
				noError(t, err)
				noError(t, n1.Authorize(session, control.ComponentsRead, control.Thing{}))
			}
		}
		look(10, 0)
		hour := time.Now().UTC().Truncate(time.Hour)
		ask()
		look(2, 1)
		ask()
		look(50, 1) // the same hour
		if one, two := used("one"), used("two"); !one.Equal(hour) || !two.Equal(hour) || !used("never").IsZero() {
			t.Errorf("used at %v and %v, want %v; one that was not: %v", one, two, hour, used("never"))
		}

		// In the next hour once more; what cannot be written now is written later, with the hour of the use.
		look(10, 1)
		ask()
		gone := n1.bearer(t, "gone")
		noError(t, n1.Authorize(gone, control.ComponentsRead, control.Thing{}))
		w.failProposals(wire.NotTried("no leader"))
		look(70, 1)
		noError(t, resultError(w.apply(access.KindRevoke, access.Revoke{ID: "t_gone"})))
		w.failProposals(nil)
		look(2, 3)
		if one := used("one"); !one.Equal(hour.Add(time.Hour)) {
			t.Errorf("used at %v, want %v", one, hour.Add(time.Hour))
		}
		look(180, 3)
		if left := n1.TokenUses(); len(left) != 0 {
			t.Errorf("it still has %v to write", left)
		}
	}, "n1")
}
