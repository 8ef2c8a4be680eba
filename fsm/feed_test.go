package fsm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

func TestFeed(t *testing.T) {
	m := fsm.New()
	if index, seq := m.Feed().Last(); index != 0 || seq != -1 {
		t.Errorf("an empty feed is at (%d, %d), want (0, -1)", index, seq)
	}
	changed := m.Feed().Changed()
	m.Apply(5, [][]byte{
		encode(t, registry.KindAnnounce, t0, announce("n1")),
		encode(t, registry.KindSignIn, t0, signIn("a", "sa")),
		encode(t, registry.KindSignIn, t0, signIn("b", "sb")),
	})
	select {
	case <-changed:
	default:
		t.Error("Changed is still open after events were published")
	}
	m.Apply(7, [][]byte{encode(t, registry.KindSignIn, t0, signIn("c", "sc"))})
	for _, c := range []struct {
		index uint64
		seq   int
		want  string
	}{
		{0, -1, "n1 n1.a n1.b n1.c "},
		{4, math.MaxInt, "n1 n1.a n1.b n1.c "},
		{5, -1, "n1 n1.a n1.b n1.c "},
		{5, 0, "n1.a n1.b n1.c "},
		{5, 1, "n1.b n1.c "},
		{5, 2, "n1.c "},
		{6, 0, "n1.c "},
		{7, 0, ""},
		{9, 0, ""},
	} {
		events, lagged := m.Feed().Since(c.index, c.seq)
		got := ""
		for _, e := range events {
			got += e.Key + " "
		}
		if got != c.want || lagged {
			t.Errorf("Since(%d, %d): got %q, lagged %v; want %q", c.index, c.seq, got, lagged, c.want)
		}
	}
	m.Apply(8, nil)
	if index, seq := m.Feed().Last(); index != 8 || seq != -1 {
		t.Errorf("after an entry without events Last is (%d, %d), want (8, -1)", index, seq)
	}
}

// An index without events is announced, too: somebody waits for it.
func TestChangedTellsOfTheIndex(t *testing.T) {
	m := fsm.New()
	changed := m.Feed().Changed()
	m.Apply(1, nil)
	select {
	case <-changed:
	default:
		t.Error("Changed is still open after an index was published")
	}
}

// A reader that falls behind the ring learns so; one that keeps up misses nothing.
func TestLagged(t *testing.T) {
	m := founded(t)
	slow, slowSeq := m.View().Position()
	readIndex, readSeq := slow, slowSeq
	read, published := 0, 0
	for published <= fsm.FeedSize+10 {
		var lines [][]byte
		for i := range 250 {
			id := fmt.Sprint(published, "-", i)
			lines = append(lines,
				encode(t, registry.KindSignIn, t0, signIn("x", id)),
				encode(t, registry.KindSignOut, t0, registry.SignOut{FullName: "n1.x", Session: id}))
		}
		m.Apply(m.View().Index+1, lines)
		published += len(lines)
		for {
			events, lagged := m.Feed().Since(readIndex, readSeq)
			if lagged {
				t.Fatalf("a reader that keeps up lags at (%d, %d)", readIndex, readSeq)
			}
			if len(events) == 0 {
				break
			}
			if len(events) > fsm.FeedBatch {
				t.Fatalf("%d events at once, want at most %d", len(events), fsm.FeedBatch)
			}
			for _, e := range events {
				if next := e.Index == readIndex && e.Seq == readSeq+1 || e.Index == readIndex+1 && e.Seq == 0; !next {
					t.Fatalf("(%d, %d) follows (%d, %d)", e.Index, e.Seq, readIndex, readSeq)
				}
				readIndex, readSeq = e.Index, e.Seq
			}
			read += len(events)
		}
	}
	if read != published {
		t.Errorf("read %d events of %d", read, published)
	}
	if events, lagged := m.Feed().Since(slow, slowSeq); !lagged || len(events) > 0 {
		t.Errorf("a reader %d events behind: %d events, lagged %v; want it to lag", published, len(events), lagged)
	}
	// The oldest event that is kept can be read from the place before it.
	first := published - fsm.FeedSize // events lost
	index, seq := slow+1+uint64((first-1)/500), (first-1)%500
	events, lagged := m.Feed().Since(index, seq)
	if lagged || len(events) != fsm.FeedBatch {
		t.Errorf("Since(%d, %d), right at the edge: %d events, lagged %v; want %d", index, seq, len(events), lagged, fsm.FeedBatch)
	}
	if _, lagged := m.Feed().Since(index, seq-1); !lagged {
		t.Errorf("Since(%d, %d), one before the edge, does not lag", index, seq-1)
	}
}

// After a restore, whoever was elsewhere lags; whoever lists from the new view
// goes on from there.
func TestRestoreLags(t *testing.T) {
	a := founded(t)
	apply(t, a, registry.KindSignIn, signIn("laser", "s1"))
	m := fsm.New()
	changed := m.Feed().Changed()
	if err := m.Restore(bytes.NewReader(snapshot(t, a))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("Changed is still open after a restore")
	}
	for _, p := range []struct {
		index uint64
		seq   int
		want  bool
	}{{0, -1, true}, {1, 5, true}, {2, -1, true}, {2, 0, false}, {2, 7, false}, {3, 0, false}} {
		if _, lagged := m.Feed().Since(p.index, p.seq); lagged != p.want {
			t.Errorf("Since(%d, %d) after a restore at 2: lagged %v, want %v", p.index, p.seq, lagged, p.want)
		}
	}
	index, seq := m.View().Position()
	if i, s := m.Feed().Last(); i != index || s != seq {
		t.Errorf("the feed is at (%d, %d), the view at (%d, %d)", i, s, index, seq)
	}
	apply(t, m, registry.KindSignIn, signIn("camera", "s2"))
	if events, lagged := m.Feed().Since(index, seq); lagged || len(events) != 1 || events[0].Key != "n1.camera" {
		t.Errorf("after the view: %v, lagged %v; want n1.camera", events, lagged)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fsm.New()
		m.Apply(3, nil)
		if err := m.Wait(t.Context(), 3); err != nil {
			t.Errorf("wait for the present index: %v", err)
		}
		woken := make(chan uint64, 10)
		for _, index := range []uint64{9, 5, 7, 5} {
			go func() {
				if err := m.Wait(t.Context(), index); err != nil {
					t.Errorf("wait for %d: %v", index, err)
				}
				woken <- index
			}()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := m.Wait(short, 6)
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "wait for index 6, the state is at 3: context deadline exceeded" {
			t.Errorf("wait that ran out of time: %v", err)
		}
		if n := m.Waiting(); n != 4 {
			t.Errorf("%d wait after one of five gave up, want 4", n)
		}
		for _, step := range []struct{ index, woken uint64 }{{4, 0}, {6, 2}, {7, 3}} {
			m.Apply(step.index, nil)
			synctest.Wait()
			if got := uint64(len(woken)); got != step.woken {
				t.Errorf("at index %d %d are awake, want %d", step.index, got, step.woken)
			}
		}
		big := fsm.New() // ahead of all who wait
		big.Apply(12, nil)
		if err := m.Restore(bytes.NewReader(snapshot(t, big))); err != nil { // wakes, too
			t.Fatal(err)
		}
		synctest.Wait()
		if len(woken) != 4 {
			t.Errorf("after a restore at 12 %d are awake, want all 4", len(woken))
		}
	})
}

// A feed keeps no more bytes than it may, however long the texts of its events
// are: the oldest go, and a reader that has not read them lags. What it keeps is read in
// order, through every growth of the ring.
func TestFeedIsBoundByBytes(t *testing.T) {
	const room = 40_000
	m := founded(t)
	m.LimitFeed(200, room)
	var published []string // the places of all events
	before, _ := m.Feed().Since(0, -1)
	for _, e := range before {
		published = append(published, fmt.Sprintf("%d.%d", e.Index, e.Seq))
	}
	sizes := []int{0, 10, 900, 3000}
	for i := range 2000 {
		if i == 1000 {
			sizes = []int{0, 0, 1} // room for as many as it may keep
		}
		in := signIn("x", fmt.Sprint("s", i))
		in.Labels = registry.LabelsOf(map[string]string{"k": strings.Repeat("v", sizes[i%len(sizes)]%1000)})
		for j := range sizes[i%len(sizes)] / 1000 {
			in.Labels = append(in.Labels, registry.Label{Key: fmt.Sprint("more", j), Value: strings.Repeat("v", 990)})
		}
		m.Apply(m.View().Index+1, [][]byte{
			encode(t, registry.KindSignIn, t0, in),
			encode(t, registry.KindSignOut, t0, registry.SignOut{FullName: "n1.x", Session: in.Session}),
		})
		index := m.View().Index
		published = append(published, fmt.Sprint(index, ".0"), fmt.Sprint(index, ".1"))
		events, bytes := m.FeedKeeps()
		if bytes > room || events > 200 || events < 1 {
			t.Fatalf("after entry %d the feed keeps %d events with %d bytes, want at most 200 and %d", index, events, bytes, room)
		}
		if i%37 != 0 && i < 1990 {
			continue
		}
		if len(published) > events {
			if _, lagged := m.Feed().Since(place(t, published, events+1)); !lagged {
				t.Fatalf("a reader that misses one event of the %d kept does not lag", events)
			}
		}
		var got []string
		for index, seq := place(t, published, events); ; {
			batch, lagged := m.Feed().Since(index, seq)
			if lagged {
				t.Fatalf("a reader that misses none of the %d kept lags", events)
			}
			if len(batch) == 0 {
				break
			}
			for _, e := range batch {
				got = append(got, fmt.Sprintf("%d.%d", e.Index, e.Seq))
				index, seq = e.Index, e.Seq
			}
		}
		if want := published[max(0, len(published)-events):]; !slices.Equal(got, want) {
			t.Fatalf("the feed keeps %d events and gives %v, want %v", events, got, want)
		}
	}
	if events, _ := m.FeedKeeps(); events < 60 {
		t.Errorf("with short texts it keeps %d events only", events)
	}
}

// place is that of the reader who has read all but the last n events.
func place(t *testing.T, published []string, n int) (index uint64, seq int) {
	t.Helper()
	if len(published) <= n {
		return 0, -1
	}
	if _, err := fmt.Sscanf(published[len(published)-n-1], "%d.%d", &index, &seq); err != nil {
		t.Fatal(err)
	}
	return index, seq
}
