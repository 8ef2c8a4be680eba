package router_test

import (
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// foreign is a namespace outside the cluster.
type foreign struct {
	mu      sync.Mutex
	got     []wire.Message
	away    bool
	refusal *wire.Error
}

func (f *foreign) handle(m wire.Message) (bool, *wire.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return false, nil
	}
	f.got = append(f.got, m)
	return true, f.refusal
}

func (f *foreign) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

// Messages to a registered namespace leave by its handler, however they are
// sent; all others go where the directory says.
func TestEgressTakesMessagesToItsNamespace(t *testing.T) {
	w := newWorld()
	w.egress = new(router.Egress)
	n := w.start(t, quick, "n1")[0]
	box := n.signIn(t, "n1.b")
	f := new(foreign)
	if err := w.egress.Register("x", f.handle); err != nil {
		t.Fatal(err)
	}
	if err := w.egress.Register("x", f.handle); wire.CodeOf(err) != wire.CodeConflict {
		t.Fatalf("a second handler of a namespace: got %v, want a conflict", err)
	}

	n.sends(t, text("n1.a", "x.b", "1"), router.Delivered, "")
	outcome := make(chan router.Outcome, 1)
	done := func(o router.Outcome, _ error) { outcome <- o }
	n.Post(text("n1.a", "x.b", "2"), done)
	if o := <-outcome; o != router.Delivered {
		t.Errorf("posted: got %s, want delivered", o)
	}
	n.PostWith(text("n1.a", "x.b", "3"), router.PostOptions{Timeout: time.Minute, LinkWait: time.Millisecond, Borrowed: true, Write: router.WriteNow}, done)
	if o := <-outcome; o != router.Delivered {
		t.Errorf("posted with a bound for the link: got %s, want delivered", o)
	}
	n.sends(t, text("n1.a", "n1.b", "here"), router.Delivered, "")
	reads(t, box, 0, "here")
	if got := f.count(); got != 3 {
		t.Errorf("the handler got %d messages, want 3", got)
	}

	f.refusal = wire.Refuse(wire.CodeBusy, "full")
	n.sends(t, text("n1.a", "x.b", "4"), router.Refused, wire.CodeBusy)
	f.away = true
	n.sends(t, text("n1.a", "x.b", "5"), router.ReceiverUnknown, wire.CodeNotFound)
	f.away = false
	w.egress.Unregister("x")
	n.sends(t, text("n1.a", "x.b", "6"), router.ReceiverUnknown, wire.CodeNotFound)
	if got := f.count(); got != 4 {
		t.Errorf("the handler got %d messages, want 4", got)
	}
}

// A sender outside the cluster gets a report of mail that was never read, like everybody.
func TestUnreadReportedByEgress(t *testing.T) {
	w := newWorld()
	w.egress = new(router.Egress)
	n := w.start(t, quick, "n1")[0]
	n.signIn(t, "n1.b")
	f := new(foreign)
	if err := w.egress.Register("x", f.handle); err != nil {
		t.Fatal(err)
	}
	n.sends(t, text("x.a", "n1.b", "never read"), router.Delivered, "")
	n.Detach("session of n1.b", "it signed out")
	if f.count() != 1 || f.got[0].To != "x.a" || f.got[0].From != "n1.COORDINATOR" {
		t.Fatalf("the sender outside got %+v, want one report from n1.COORDINATOR", f.got)
	}
}
