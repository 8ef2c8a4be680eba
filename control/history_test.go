package control_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Places of a cluster that was there before lag, by their id, or by
// being beyond the newest index; a place that is merely ahead of a follower is
// waited for.
func TestPlacesOfAnotherCluster(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		w.apply(fsm.KindFound, fsm.Found{Cluster: "new"})
		n1.signIn(t, "laser")
		now := w.index
		for name, at := range map[string]control.Position{
			"beyond, without an id":  {Index: now + 500},
			"beyond, of another":     {Index: now + 500, Cluster: "old"},
			"not beyond, of another": {Index: 1, Cluster: "old"},
			"beyond, of the same":    {Index: now + 500, Cluster: "new"},
		} {
			cur, err := n1.Events(anyone, nil, &at)
			noError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, lagged, err := cur.Next(ctx)
			cancel()
			if err != nil || !lagged {
				t.Errorf("%s: lagged %v, %v; want lagged", name, lagged, err)
			}
			if want := (control.Position{Index: now, Cluster: "new"}); cur.At().Index != want.Index || cur.At().Cluster != want.Cluster {
				t.Errorf("%s: goes on from %v, want from now, %v", name, cur.At(), want)
			}
		}

		w.lag("n2")
		n1.signIn(t, "ahead")
		place := control.Position{Index: w.index, Cluster: "new"}
		cur, err := n2.Events(anyone, []string{wire.TopicComponent}, &place)
		noError(t, err)
		n1.signIn(t, "further")
		events, lagged, err := cur.Next(t.Context())
		noError(t, err)
		for len(events) == 1 && events[0].Key == "n1.ahead" { // at the place itself, of which the sign-in is event 0
			events, lagged, err = cur.Next(t.Context())
			noError(t, err)
		}
		if lagged || len(events) != 1 || events[0].Key != "n1.further" {
			t.Errorf("at a follower that is behind: lagged %v, %+v; want the next sign-in", lagged, events)
		}
	}, "n1", "n2")
}

// Without a leader nobody can tell whether a place is beyond: a watcher waits
// until there is one.
func TestPlaceIsNotJudgedWithoutLeader(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		w.apply(fsm.KindFound, fsm.Found{Cluster: "new"})
		w.failProposals(errors.New("no leader"))
		cur, err := n1.Events(anyone, nil, &control.Position{Index: 500})
		noError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, lagged, err := cur.Next(ctx); lagged || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("without a leader: lagged %v, %v; want nothing said", lagged, err)
		}
		w.failProposals(nil)
		if _, lagged, err := cur.Next(t.Context()); !lagged || err != nil {
			t.Errorf("with a leader again: lagged %v, %v; want lagged", lagged, err)
		}
	}, "n1")
}

// A blocking read with an index that is none of this cluster's is answered at
// once with what is there; one that is ahead of a follower blocks as ever.
func TestReadsWithAnIndexOfAnotherCluster(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		w.apply(fsm.KindFound, fsm.Found{Cluster: "new"})
		_, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser", Lease: wire.Duration(time.Hour)}, "")
		noError(t, err)
		now := w.index
		for _, c := range []struct {
			read  control.Read
			takes time.Duration
		}{
			{control.Read{Index: now + 500, Wait: time.Minute}, 0},
			{control.Read{Index: now + 500, Wait: time.Minute, Consistency: "stale"}, 0},
			{control.Read{Index: now + 500, Wait: time.Minute, Cluster: "old"}, 0},
			{control.Read{Index: now, Wait: time.Minute, Cluster: "old"}, 0},
			{control.Read{Index: now + 500, Cluster: "old"}, 0},
			{control.Read{Index: now, Wait: time.Minute, Cluster: "new"}, time.Minute},
			{control.Read{Index: now, Wait: time.Minute}, time.Minute},
		} {
			began := time.Now()
			list, fresh, err := n1.Components(t.Context(), anyone, c.read, directory.ComponentFilter{}, control.Page{})
			noError(t, err)
			if took := time.Since(began); took != c.takes || len(list.Components) != 1 || fresh.Index != now {
				t.Errorf("%+v: %d components at %d after %s, want 1 at %d after %s", c.read, len(list.Components), fresh.Index, took, now, c.takes)
			}
		}
		w.lag("n1")
		w.apply(fsm.KindFound, fsm.Found{Cluster: "new"})
		began := time.Now()
		_, fresh, err := n1.Components(t.Context(), anyone, control.Read{Index: w.index, Wait: time.Minute}, directory.ComponentFilter{}, control.Page{})
		noError(t, err)
		if took := time.Since(began); took != time.Minute || fresh.Index != w.index {
			t.Errorf("an index ahead of a follower: answered at %d after %s, want at %d after a minute", fresh.Index, took, w.index)
		}
		_, _, err = n1.Components(t.Context(), anyone, control.Read{Index: now + 500, Cluster: "new"}, directory.ComponentFilter{}, control.Page{})
		refused(t, err, wire.CodeUnavailable, "")
		synctest.Wait()
	}, "n1")
}

// A place is written with its cluster, and one without is still read.
func TestPositionsAreWritten(t *testing.T) {
	for _, s := range []string{"812", "812.3", "812@c1", "812.3@0a_B-9"} {
		p, err := control.ParsePosition("after", s)
		if err != nil || p.String() != s {
			t.Errorf("%s is read as %+v and written %s, %v", s, p, p, err)
		}
	}
	for _, bad := range []string{"812@", "812@a b", "812@a@b", "@c1", "812.@c1", "812@\n"} {
		_, err := control.ParsePosition("after", bad)
		refused(t, err, wire.CodeInvalid, "place in the feed")
	}
}
