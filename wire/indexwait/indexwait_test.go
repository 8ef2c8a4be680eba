package indexwait_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/wire/indexwait"
)

// An advance wakes those it concerns and nobody else, in whatever order they came.
func TestAnAdvanceWakesThoseItConcerns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l indexwait.List
		var index atomic.Uint64
		var mu sync.Mutex
		var woken []uint64
		for _, want := range []uint64{5, 1, 3, 3} {
			go func() {
				if err := l.Wait(t.Context(), want, index.Load); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				woken = append(woken, want)
			}()
		}
		for _, step := range []struct {
			index uint64
			woken []uint64
		}{{2, []uint64{1}}, {3, []uint64{1, 3, 3}}, {9, []uint64{1, 3, 3, 5}}} {
			synctest.Wait()
			index.Store(step.index)
			l.Wake(step.index)
			synctest.Wait()
			mu.Lock()
			if !slices.Equal(woken, step.woken) {
				t.Errorf("at index %d: woken %v, want %v", step.index, woken, step.woken)
			}
			mu.Unlock()
		}
		if err := l.Wait(t.Context(), 9, index.Load); err != nil {
			t.Errorf("an index that is reached: %v", err)
		}
	})
}

// Whoever gives up gets the cause, and is not woken any more; the others are.
func TestGivingUpLeavesTheOthers(t *testing.T) {
	var l indexwait.List
	var index atomic.Uint64
	gone, stop := l.Reached(2, index.Load)
	stays, _ := l.Reached(2, index.Load)
	stop()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := l.Wait(ctx, 2, index.Load); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	index.Store(2)
	l.Wake(2)
	<-stays
	stop() // once more, when all is over
	select {
	case <-gone:
		t.Error("one that gave up was woken")
	default:
	}
	now, _ := l.Reached(1, index.Load)
	<-now
}
