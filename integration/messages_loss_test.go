package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/wire"
)

// mail is one message of the storm: the n-th from a sender to a receiver.
type mail struct {
	From, To string
	N        int
}

// record is what happened to the storm's mail, for the checker.
type record struct {
	mu       sync.Mutex
	outcomes map[mail]wire.Code // "" is delivered
	order    map[string][]int   // "from > to": what was read, in order
}

// Three senders and three receivers, each pair with a storm of its own, while
// the home of one receiver is killed and another's stands still: whatever
// happens, each send has one outcome, no message is read twice or out of
// order, what was refused is never read, and what was delivered to somebody
// whose home lived is read.
func TestStormMessages(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	c := startCluster(t, 3)
	leader := c.leader()
	killed := c.others(leader)[0]
	paused := c.others(leader)[1]
	rec := &record{outcomes: map[mail]wire.Code{}, order: map[string][]int{}}
	var senders, receivers []*client.Session
	var readers, writers sync.WaitGroup
	for i, p := range c.nodes {
		at := append([]*process{p}, c.others(p)...)
		// Leases outlast a pause; a dead home is noticed by its connections.
		in := func(name string) *client.Session {
			return c.open(wire.SignIn{Name: fmt.Sprintf("%s%d", name, i+1), Lease: seconds(24)}, at...)
		}
		s, r := in("sender"), in("receiver")
		senders, receivers = append(senders, s), append(receivers, r)
		readers.Go(func() { rec.read(r) })
	}
	const each = 400
	for _, s := range senders {
		for _, r := range receivers {
			writers.Go(func() { rec.write(t, s, r.FullName(), each) })
		}
	}

	rec.wait(t, 900)
	killed.kill()
	rec.wait(t, 1500)
	killed.start()
	c.waitHealthy(3)
	paused.signal(syscall.SIGSTOP)
	<-time.After(1500 * time.Millisecond) // longer than elections take, shorter than a lease
	paused.signal(syscall.SIGCONT)
	writers.Wait()

	// All that was delivered where no home died must have been read by now, or soon.
	rec.arrived(t, receivers, killed)
	for _, s := range append(senders, receivers...) {
		if err := s.Err(); err != nil {
			t.Errorf("%s: %v", s.FullName(), err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close %s: %v", s.FullName(), err)
		}
	}
	readers.Wait()
	rec.check(t, len(senders)*len(receivers)*each)
	c.waitHealthy(3)
	c.agree()
}

// write sends n messages one after the other and notes the outcome of each.
func (r *record) write(t *testing.T, s *client.Session, to string, n int) {
	for i := 1; i <= n; i++ {
		m := mail{s.FullName(), to, i}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := s.Send(ctx, wire.Message{To: to, Type: wire.TypeJSON, Payload: [][]byte{asJSON(m)}})
		cancel()
		r.mu.Lock()
		r.outcomes[m] = wire.CodeOf(err)
		if err != nil && wire.CodeOf(err) == "" {
			t.Errorf("%v: an error without a code: %v", m, err)
		}
		r.mu.Unlock()
		if err != nil {
			time.Sleep(20 * time.Millisecond) // a storm of refusals proves nothing
		}
	}
}

func (r *record) read(s *client.Session) {
	for got := range s.Messages() {
		var m mail
		if json.Unmarshal(got.Payload[0], &m) != nil || m.N == 0 {
			continue // a coordinator's report of mail that was not read
		}
		r.mu.Lock()
		pair := got.From + " > " + s.FullName()
		if m.From != got.From || m.To != s.FullName() {
			pair = fmt.Sprintf("astray: %+v as from %s at %s", m, got.From, s.FullName())
		}
		r.order[pair] = append(r.order[pair], m.N)
		r.mu.Unlock()
	}
}

// wait waits until so many sends have their outcome.
func (r *record) wait(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d outcomes", n), func(ctx) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.outcomes) < n {
			return fmt.Errorf("there are %d", len(r.outcomes))
		}
		return nil
	})
}

// missing is delivered mail of one receiver that was not read.
func (r *record) missing(to string) (gone []mail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	read := map[mail]bool{}
	for pair, ns := range r.order {
		var from string
		if _, err := fmt.Sscanf(pair, "%s > ", &from); err != nil {
			continue
		}
		for _, n := range ns {
			read[mail{from, to, n}] = read[mail{from, to, n}] || pair == from+" > "+to
		}
	}
	for m, code := range r.outcomes {
		if m.To == to && code == "" && !read[m] {
			gone = append(gone, m)
		}
	}
	return gone
}

// arrived waits for all mail delivered to receivers whose home was not killed.
func (r *record) arrived(t *testing.T, receivers []*client.Session, killed *process) {
	t.Helper()
	for i, s := range receivers {
		if killed.name == fmt.Sprintf("n%d", i+1) {
			continue
		}
		eventually(t, "all mail delivered to "+s.FullName(), func(ctx) error {
			if gone := r.missing(s.FullName()); len(gone) > 0 {
				return fmt.Errorf("%d messages were delivered and not read, such as %v", len(gone), gone[0])
			}
			return nil
		})
	}
}

// check goes through the whole record.
func (r *record) check(t *testing.T, sends int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.outcomes) != sends {
		t.Errorf("%d outcomes of %d sends", len(r.outcomes), sends)
	}
	count := map[wire.Code]int{}
	for _, code := range r.outcomes {
		count[code]++
	}
	t.Logf("outcomes (\"\" is delivered): %v", count)
	for code := range count {
		switch code {
		case "", wire.CodeUnknown, wire.CodeUnavailable, wire.CodeNotFound, wire.CodeBusy:
		default:
			t.Errorf("%d sends ended as %s", count[code], code)
		}
	}
	if count[""] < sends/2 {
		t.Errorf("only %d of %d were delivered", count[""], sends)
	}
	for pair, ns := range r.order {
		for i, n := range ns {
			if i > 0 && n <= ns[i-1] {
				t.Errorf("%s: %d was read after %d", pair, n, ns[i-1])
			}
			var m mail
			if _, err := fmt.Sscanf(pair, "%s > %s", &m.From, &m.To); err != nil {
				t.Errorf("%s", pair)
				break
			}
			m.N = n
			if code, sent := r.outcomes[m]; !sent || code != "" && code != wire.CodeUnknown {
				t.Errorf("%v was read though its outcome is %q (sent: %t)", m, code, sent)
			}
		}
	}
}
