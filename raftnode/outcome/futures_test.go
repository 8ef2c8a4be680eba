package outcome

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// slowFuture answers when it is told to.
type slowFuture chan error

func (f slowFuture) Error() error { return <-f }

// Who gave up waiting leaves a future behind, which is waited for until raft
// answers it.
func TestFuturesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Futures
		if err := f.Wait(t.Context()); err != nil {
			t.Errorf("without a future: %v", err)
		}
		gone, giveUp := context.WithCancelCause(t.Context())
		giveUp(errors.New("gave up"))
		slow := []slowFuture{make(slowFuture), make(slowFuture)}
		for _, s := range slow {
			if err := f.Await(gone, s); err == nil || err.Error() != "wait for raft: gave up" {
				t.Errorf("await: %v", err)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with two futures that are not answered: %v", err)
		}
		waited := make(chan error, 1)
		go func() { waited <- f.Wait(t.Context()) }()
		slow[0] <- nil
		synctest.Wait()
		select {
		case err := <-waited:
			t.Errorf("returned with one future left: %v", err)
		default:
		}
		slow[1] <- errors.New("lost")
		if err := <-waited; err != nil {
			t.Errorf("with all answered: %v", err)
		}
	})
}
