package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// fleet is a cluster of coordinators in memory that knows one session, n1.laser.
type fleet struct {
	net *inMemory

	mu       sync.Mutex
	home     string
	ended    string // why the session is over; empty while it lives
	beats    []time.Time
	moves    int
	signOuts int
	stuck    bool                // nobody answers, but connections stand
	silent   string              // the coordinator that takes sign-ins and answers none
	attempts map[string][]uint64 // of the sign-ins at each
	attempt  time.Duration       // how long the client waits for one coordinator; 0: as by default
	inbox    map[string]chan wire.Received
}

func newFleet(ids ...string) *fleet {
	f := &fleet{net: &inMemory{hosts: map[string]http.Handler{}}, inbox: map[string]chan wire.Received{}, attempts: map[string][]uint64{}}
	for _, id := range ids {
		f.inbox[id] = make(chan wire.Received)
		f.net.set(id, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(id, w, r) }))
	}
	return f
}

func (f *fleet) kill(id string) { f.net.set(id, nil) }

func (f *fleet) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fleet) serve(id string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	stuck, home, ended := f.stuck, f.home, f.ended
	f.mu.Unlock()
	if stuck {
		<-r.Context().Done()
		return
	}
	f.net.mu.Lock()
	homeLives := f.net.hosts[home] != nil
	f.net.mu.Unlock()
	op := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1")
	if op == "POST /components" {
		var in wire.SignIn
		json.NewDecoder(r.Body).Decode(&in)
		f.with(func() { f.attempts[id] = append(f.attempts[id], in.Attempt); stuck = f.silent == id })
		if stuck {
			<-r.Context().Done()
			return
		}
		if ended != "" {
			refuse(w, 403, wire.CodeForbidden, ended)
			return
		}
		f.with(func() {
			if in.Session != "" {
				f.moves++
			}
			f.home = id
		})
		say(w, 201, wire.SignedIn{FullName: "n1.laser", Session: "s1", Secret: "secret", Namespace: "n1", Home: id, Lease: in.Lease, Index: 9})
		return
	}
	switch {
	case r.Header.Get("X-Session") != "secret":
		refuse(w, 401, wire.CodeUnauthorized, "no session")
	case ended != "":
		refuse(w, 404, wire.CodeNotFound, ended)
	case !homeLives:
		refuse(w, 503, wire.CodeUnavailable, "its home "+home+" is not reached: take the name over")
	case op == "PUT /components/n1.laser/heartbeat":
		f.with(func() { f.beats = append(f.beats, time.Now()) })
		say(w, 200, wire.Beat{FullName: "n1.laser", Session: "s1", Home: home, Lease: wire.Duration(9 * time.Second)})
	case op == "DELETE /components/n1.laser":
		f.with(func() { f.signOuts++; f.ended = "signed out" })
		say(w, 200, struct{}{})
	case op == "GET /components/n1.laser/messages":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "retry: 1000\n\n")
		for {
			select {
			case m := <-f.inbox[id]:
				b, _ := json.Marshal(m)
				fmt.Fprintf(w, "id: %d\nevent: message\ndata: %s\n\n", m.Seq, b)
			case <-time.After(15 * time.Second):
				fmt.Fprint(w, ": still here\n\n")
			case <-r.Context().Done():
				return
			}
		}
	default:
		refuse(w, 404, wire.CodeNotFound, op)
	}
}

func (f *fleet) open(t *testing.T, addrs ...string) *client.Session {
	t.Helper()
	c, err := client.New(client.Config{Addrs: addrs, HTTPClient: &http.Client{Transport: f.net}, Attempt: f.attempt})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), client.SessionConfig{Inbox: true, SignIn: wire.SignIn{Name: "laser", Lease: wire.Duration(9 * time.Second)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func alive(t *testing.T, s *client.Session, when string) {
	t.Helper()
	select {
	case <-s.Done():
		t.Fatalf("%s: the session ended: %v", when, s.Err())
	default:
	}
}

// A session beats every third of its lease and signs out when it is closed.
func TestSessionKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b")
		s := f.open(t, "a", "b")
		time.Sleep(31 * time.Second)
		alive(t, s, "after 31 s")
		f.with(func() {
			if len(f.beats) != 10 {
				t.Errorf("lease 9 s, 31 s: got %d heartbeats, want 10", len(f.beats))
			}
		})
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
		if s.Err() != nil || f.signOuts != 1 {
			t.Errorf("after Close: err %v and %d sign-outs, want none and 1", s.Err(), f.signOuts)
		}
	})
}

// When the home dies the name is taken over at the next coordinator within a heartbeat, and the inbox goes with it.
func TestSessionMovesWhenItsHomeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		s := f.open(t, "a", "b", "c")
		f.inbox["a"] <- wire.Received{Seq: 1, From: "n2.x"}
		if m := <-s.Messages(); m.From != "n2.x" {
			t.Fatalf("first message: got %+v, want from n2.x", m)
		}
		died := time.Now()
		f.kill("a")
		f.inbox["b"] <- wire.Received{Seq: 1, From: "n3.y"}
		if took := time.Since(died); took > 4*time.Second {
			t.Errorf("the inbox moved after %s, want within a heartbeat (3 s) or so", took)
		}
		if m := <-s.Messages(); m.From != "n3.y" {
			t.Errorf("message after the move: got %+v, want from n3.y", m)
		}
		if got := s.SignedIn().Home; got != "b" {
			t.Errorf("home after the move: got %s, want b", got)
		}
		time.Sleep(time.Minute)
		alive(t, s, "a minute after its home died")
		f.with(func() {
			if f.moves != 1 {
				t.Errorf("moved %d times, want once", f.moves)
			}
		})
		s.Close(t.Context())
	})
}

// Each attempt to take the name over has its own number: one that is carried out late changes nothing.
func TestSessionNumbersItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		f.attempt = time.Second
		s := f.open(t, "a", "b", "c")
		f.with(func() { f.silent = "b" })
		f.kill("a")
		for s.SignedIn().Home != "c" {
			alive(t, s, "while b is silent")
			time.Sleep(10 * time.Millisecond)
		}
		f.with(func() {
			b, c := f.attempts["b"], f.attempts["c"]
			if len(b) == 0 || len(c) == 0 || b[0] == 0 || c[len(c)-1] <= b[len(b)-1] {
				t.Errorf("the attempts are %v at b, then %v at c; want each above those before", b, c)
			}
		})
		s.Close(t.Context())
	})
}

// A session that reaches nobody ends before its lease can have ended anywhere.
func TestSessionEndsBeforeItsLease(t *testing.T) {
	for _, how := range []string{"all dead", "all stuck"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet("a", "b")
				s := f.open(t, "a", "b")
				time.Sleep(10 * time.Second) // the last heartbeat was after 9 s
				if how == "all dead" {
					f.kill("a")
					f.kill("b")
				} else {
					f.with(func() { f.stuck = true })
				}
				<-s.Done()
				var last time.Time
				f.with(func() { last = f.beats[len(f.beats)-1] })
				if held := time.Since(last); held >= 9*time.Second || held < 6*time.Second {
					t.Errorf("ended %s after the last heartbeat, want shortly before its lease of 9 s", held)
				}
				if !errors.Is(s.Err(), client.ErrLost) {
					t.Errorf("err: got %v, want ErrLost", s.Err())
				}
				if cause := context.Cause(s.Context()); !errors.Is(cause, client.ErrLost) {
					t.Errorf("cause of the session's context: got %v, want ErrLost", cause)
				}
				f.with(func() { f.stuck = false })
				s.Close(t.Context())
			})
		})
	}
}

// Coordinators that are away for less than the lease cost nothing.
func TestSessionOutlivesAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b")
		s := f.open(t, "a", "b")
		f.with(func() { f.stuck = true })
		time.Sleep(5 * time.Second)
		f.with(func() { f.stuck = false })
		time.Sleep(20 * time.Second)
		alive(t, s, "after 5 s without answers")
		s.Close(t.Context())
	})
}

// A session removed by an operator ends at its next heartbeat, and says why.
func TestRemovedSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a")
		s := f.open(t, "a")
		removed := time.Now()
		f.with(func() { f.ended = "removed by an operator: spare" })
		<-s.Done()
		if took := time.Since(removed); took > 4*time.Second {
			t.Errorf("noticed after %s, want within a heartbeat", took)
		}
		if err := s.Err(); !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "spare") {
			t.Errorf("err: got %v, want ErrLost with the operator's reason", err)
		}
		if _, open := <-s.Messages(); open {
			t.Error("messages after the end: got one, want a closed channel")
		}
		s.Close(t.Context())
	})
}
