package router_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
)

// Links that are made anew again and again, as for a new certificate, lose no message and give none twice: whoever
// sends has to wait a little, no more.
func TestLinksMadeAnewLoseNothing(t *testing.T) {
	const senders, renewals = 8, 5
	w := newWorld()
	n := w.start(t, quick, "n1", "n2")
	joined(t, n...)
	box := n[1].signIn(t, "n2.laser")
	for i := range senders {
		n[0].signIn(t, fmt.Sprintf("n1.gui%d", i))
	}
	n[0].lag()
	opened := n[0].Stats()["links_opened"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	enough := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(enough)
		for n[0].Stats()["links_opened"]-opened < renewals && ctx.Err() == nil {
			n[0].RenewLinks(time.Now())
			time.Sleep(time.Millisecond)
		}
	})
	var mu sync.Mutex
	sent := map[string]bool{}
	for i := range senders {
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-enough:
					return
				default:
				}
				s := fmt.Sprintf("%d.%d", i, k)
				if got, err := n[0].Send(ctx, text(fmt.Sprintf("n1.gui%d", i), "n2.laser", s)); got != router.Delivered {
					t.Errorf("message %s: got %s (%v), want it delivered", s, got, err)
					return
				}
				mu.Lock()
				sent[s] = true
				mu.Unlock()
			}
		})
	}
	read := map[string]bool{}
	last := uint64(0)
	wg.Go(func() {
		stop, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-enough
			time.Sleep(50 * time.Millisecond) // what is late is read below
			cancel()
		}()
		for {
			got, err := box.Receive(stop, last, 100)
			if err != nil {
				return
			}
			for _, g := range got {
				last = g.Number
				read[string(g.Message.Payload[0])] = true
			}
		}
	})
	wg.Wait()
	for uint64(len(read)) < uint64(len(sent)) {
		got, err := box.Receive(ctx, last, 100)
		if err != nil {
			t.Fatalf("%d of %d messages were read: %v", len(read), len(sent), err)
		}
		for _, g := range got {
			last = g.Number
			read[string(g.Message.Payload[0])] = true
		}
	}
	if last != uint64(len(sent)) {
		t.Errorf("%d messages came, %d were sent", last, len(sent))
	}
	if got := n[0].Stats()["links_opened"] - opened; got < renewals {
		t.Errorf("the link was made anew %d times, want %d", got, renewals)
	}
}
