package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// closed signs a component out at the end of a test.
func closed(t *testing.T, n *client.Session) {
	t.Helper()
	if err := n.Close(t.Context()); err != nil {
		t.Errorf("close %s: %v", n.FullName(), err)
	}
}

// A session that no coordinator answers is given up when nine tenths of the lease have passed since the last ping that
// was answered left, to the moment, and everything done in its name with it: nobody else can have the name before.
func TestSessionStopsBeforeItsLeaseCanHaveEnded(t *testing.T) {
	for what, cut := range map[string]func(*fakeCoordinator){
		"silent":  func(s *fakeCoordinator) { s.silent = true },
		"refused": func(s *fakeCoordinator) { s.down, s.silent = true, true },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCluster(t, 10*time.Second, "a", "b")
				stopped := make(chan time.Time, 1)
				laser := w.signIn("laser", client.Component{Ping: 2 * time.Second, Methods: map[string]client.Method{
					"hold": func(ctx context.Context, _ *client.Request) (any, error) {
						<-ctx.Done()
						stopped <- time.Now()
						return nil, nil
					},
				}})
				gui := w.signIn("gui", client.Component{Ping: 2 * time.Second})
				life := laser.Context()
				held := make(chan error, 1)
				go func() { held <- gui.Call(t.Context(), "laser", "hold", nil, nil) }()
				begun := time.Now()
				time.Sleep(21 * time.Second) // longer than the lease: pings keep it
				if life.Err() != nil {
					t.Fatalf("lost while pings were answered: %v", context.Cause(life))
				}
				w.change("a", cut)
				w.change("b", cut)
				<-life.Done()
				last := begun.Add(20 * time.Second) // the last ping that was answered
				if got := time.Since(last); got != 9*time.Second {
					t.Errorf("given up %v after the last ping that was answered left, want 9 s of a lease of 10 s", got)
				}
				if at := <-stopped; at.Sub(last) != 9*time.Second {
					t.Errorf("the method under way ended %v after it, want 9 s", at.Sub(last))
				}
				<-laser.Done()
				if !errors.Is(laser.Err(), client.ErrLost) {
					t.Errorf("it ended with %v, want ErrLost", laser.Err())
				}
				if err := laser.Send(t.Context(), wire.Message{To: "gui", Payload: [][]byte{{1}}}); wire.CodeOf(err) != wire.CodeUnavailable {
					t.Errorf("a send in the name that was given up: %v, want unavailable", err)
				}
				if err := <-held; wire.CodeOf(err) != wire.CodeUnknown {
					t.Errorf("the call ended with %v, want unknown", err)
				}
				<-gui.Done()
				_, _ = laser.Close(t.Context()), gui.Close(t.Context())
				w.stop()
			})
		})
	}
}

// A pong renews the lease from when its ping left, however late it comes.
func TestSessionLateAnswersRenewFromThePing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		laser := w.signIn("laser", client.Component{Ping: 4 * time.Second})
		life, begun := laser.Context(), time.Now()
		time.Sleep(7 * time.Second)
		w.change("a", func(s *fakeCoordinator) { s.delay = 3 * time.Second })
		time.Sleep(4 * time.Second) // at 11 s the ping of 8 s is answered
		synctest.Wait()
		w.change("a", func(s *fakeCoordinator) { s.silent = true })
		<-life.Done()
		if got := time.Since(begun); got != 17*time.Second {
			t.Errorf("given up after %v, want 9 s after the ping of 8 s", got)
		}
		<-laser.Done()
		_ = laser.Close(t.Context())
		w.stop()
	})
}

// A home that is killed is left at once for another; one that falls silent when three pings have brought nothing.
func TestSessionMovesInTime(t *testing.T) {
	for what, c := range map[string]struct {
		hit    func(w *fakeCluster)
		within time.Duration
	}{
		"killed": {func(w *fakeCluster) { w.kill("a") }, 0},
		"silent": {func(w *fakeCluster) { w.change("a", func(s *fakeCoordinator) { s.silent = true }) }, 6 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFakeCluster(t, 10*time.Second, "a", "b")
				laser := w.signIn("laser", client.Component{Ping: 2 * time.Second})
				life, session := laser.Context(), laser.Welcome().Session
				synctest.Wait()
				begun := time.Now()
				c.hit(w)
				for laser.Welcome().Home != "b" && life.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(begun); took > c.within+time.Millisecond || laser.Welcome().Session != session || life.Err() != nil {
					t.Errorf("after %v it is %+v, life %v; want the session at b within %v", took, laser.Welcome(), life.Err(), c.within)
				}
				closed(t, laser)
				w.stop()
			})
		})
	}
}

// What a coordinator answers "sign in first" goes again after signing in again, once and in its order, and nobody
// notices.
func TestSessionSignsInFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		laser := w.signIn("laser", client.Component{Inbox: true, Methods: map[string]client.Method{
			"add": func(context.Context, *client.Request) (any, error) { return 5, nil },
		}})
		gui := w.signIn("gui", client.Component{})
		news, err := gui.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, do := range []func() error{
			func() error { return gui.Send(t.Context(), wire.Message{To: "laser", Payload: [][]byte{{7}}}) },
			func() error {
				var sum int
				if err := gui.Call(t.Context(), "laser", "add", nil, &sum); err != nil || sum != 5 {
					return fmt.Errorf("%d, %w", sum, err)
				}
				return nil
			},
			func() error { return gui.Coordinator(t.Context(), "pong", nil, nil) },
		} {
			synctest.Wait()
			w.change("a", func(s *fakeCoordinator) { s.unauthenticated = 0 })
			w.forget("n1.gui")
			if err := do(); err != nil {
				t.Errorf("request %d after a lost sign-in: %v", i, err)
			}
			w.change("a", func(s *fakeCoordinator) {
				if s.unauthenticated != 1 {
					t.Errorf("request %d was refused %d times, want once", i, s.unauthenticated)
				}
			})
		}
		if m := <-laser.Messages(); m.Payload[0][0] != 7 || len(laser.Messages()) != 0 {
			t.Errorf("got %v and %d more, want the one message", m.Payload, len(laser.Messages()))
		}
		// Many under way at once, long ones among them.
		const n = 100
		synctest.Wait()
		w.forget("n1.gui")
		outcomes := make(chan error, n)
		for i := range n {
			m := wire.Message{To: "laser", Payload: [][]byte{{byte(i)}}}
			if i == 10 {
				m.Payload = append(m.Payload, make([]byte, 200_000))
			}
			if err := gui.Post(t.Context(), m, func(err error) { outcomes <- err }); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			if m := <-laser.Messages(); int(m.Payload[0][0]) != i {
				t.Fatalf("message %d came at place %d", m.Payload[0][0], i)
			}
		}
		for range n {
			if err := <-outcomes; err != nil {
				t.Errorf("a message: %v", err)
			}
		}
		closed(t, laser)
		for e := range news { // a subscription ends with its sign-in, and is made anew
			if e.Key != "n1.laser" || e.Kind != "signed_out" {
				t.Errorf("news: %+v", e)
			}
			break
		}
		closed(t, gui)
		w.stop()
	})
}

// One who has signed out does not sign in again for what is still to be sent.
func TestSessionCloseIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		gui := w.signIn("gui", client.Component{})
		w.change("a", func(s *fakeCoordinator) { s.delay = time.Second })
		ended := make(chan error)
		go func() { ended <- gui.Close(t.Context()) }()
		synctest.Wait() // signed out, and not told yet
		if err := gui.Send(t.Context(), wire.Message{To: "gui", Payload: [][]byte{{1}}}); wire.CodeOf(err) != wire.CodeUnavailable {
			t.Errorf("a send behind the sign-out: %v, want unavailable", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("close: %v", err)
		}
		w.change("a", func(*fakeCoordinator) {
			if len(w.sessions) != 0 {
				t.Errorf("signed in after Close: %v", w.sessions)
			}
		})
		w.stop()
	})
}

// Whoever watches is told, whatever else begins and ends watching or connecting at the same moment.
func TestSessionWatchesDoNotDisturbEachOther(t *testing.T) {
	for i := range 200 {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCluster(t, 10*time.Second, "a")
			gui := w.signIn("gui", client.Component{}) // its connection has only just begun
			ctx, cancel := context.WithCancel(t.Context())
			other, err := gui.Watch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { // ends as the next one begins
				defer close(ended)
				for range other {
				}
			}()
			if i%2 == 0 {
				cancel()
			}
			news, err := gui.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			if i%3 == 0 {
				w.kick("a")
			}
			laser := w.signIn("laser", client.Component{})
			told := make(chan string, 1)
			go func() {
				for e := range news {
					told <- e.Kind + " " + e.Key
					return
				}
			}()
			select {
			case got := <-told:
				if got != "signed_in n1.laser" {
					t.Errorf("round %d: told of %q", i, got)
				}
			case <-time.After(time.Minute):
				t.Fatalf("round %d: never told", i)
			}
			<-ended
			closed(t, laser)
			closed(t, gui)
			w.stop()
		})
		if t.Failed() {
			return
		}
	}
}

// A watch that is refused fails alone: neither another one that is asked for at the same moment, nor the connection.
func TestARefusedWatchFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		w.change("a", func(s *fakeCoordinator) { s.forbidden, s.delay = wire.TopicJob, time.Second })
		gui := w.signIn("gui", client.Component{})
		errs := map[string]chan error{}
		for _, topic := range []string{wire.TopicMember, wire.TopicComponent, wire.TopicJob, wire.TopicLock} {
			errs[topic] = make(chan error, 1)
		}
		watch := func(topics ...string) {
			for _, topic := range topics {
				go func() {
					_, err := gui.Watch(t.Context(), topic)
					errs[topic] <- err
				}()
				synctest.Wait() // the first is asked for, and the others wait for their turn
			}
		}
		watch(wire.TopicMember, wire.TopicComponent, wire.TopicJob)
		for _, topic := range []string{wire.TopicMember, wire.TopicComponent} {
			if err := <-errs[topic]; err != nil {
				t.Errorf("%s, which is allowed: %v", topic, err)
			}
		}
		if err := <-errs[wire.TopicJob]; wire.CodeOf(err) != wire.CodeForbidden {
			t.Errorf("%s, which is not: %v", wire.TopicJob, err)
		}

		// Nor is one that waits for its turn asked for with the others when the connection is a new one.
		w.change("a", func(s *fakeCoordinator) { s.delay, s.attempts = time.Minute, nil })
		watch(wire.TopicLock, wire.TopicJob)
		w.change("a", func(s *fakeCoordinator) { s.delay = 0 })
		w.kick("a")
		if err := <-errs[wire.TopicLock]; err != nil {
			t.Errorf("%s, which is allowed, over a new connection: %v", wire.TopicLock, err)
		}
		if err := <-errs[wire.TopicJob]; wire.CodeOf(err) != wire.CodeForbidden {
			t.Errorf("%s, which is not, over a new connection: %v", wire.TopicJob, err)
		}
		time.Sleep(time.Minute)
		w.change("a", func(s *fakeCoordinator) {
			if len(s.attempts) != 1 {
				t.Errorf("the connection was made %d times anew, want once", len(s.attempts))
			}
		})
		closed(t, gui)
		w.stop()
	})
}

// A sign-in that may have been taken is not said to be untried.
func TestSessionSignInOutcomes(t *testing.T) {
	for want, set := range map[wire.Code]func(*fakeCoordinator){
		wire.CodeUnavailable: func(s *fakeCoordinator) { s.down = true },
		wire.CodeUnknown:     func(s *fakeCoordinator) { s.silent = true },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newFakeCluster(t, 10*time.Second, "a", "b")
			w.change("a", func(s *fakeCoordinator) { s.down = true })
			w.change("b", set)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := client.Dial(ctx, client.Component{Addrs: []string{"a", "b"}, SignIn: wire.SignIn{Name: "laser"}, Dialer: w.dial})
			if wire.CodeOf(err) != want {
				t.Errorf("signing in ended with %v, want %s", err, want)
			}
			w.stop()
		})
	}
}

// One who answers each message as it reads it is not held up by those that have come meanwhile: outcomes are behind
// them.
func TestSessionReadsOnWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		echo := w.signIn("echo", client.Component{Inbox: true})
		gui := w.signIn("gui", client.Component{Inbox: true})
		const n = 2000
		begun := time.Now()
		failed := make(chan error, n)
		for i := range n {
			if err := gui.Post(t.Context(), wire.Message{To: "echo", Payload: [][]byte{{byte(i >> 8), byte(i)}}}, func(err error) { failed <- err }); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
		echoed := make(chan error, 1)
		go func() {
			for range n {
				m := <-echo.Messages()
				if err := echo.Send(t.Context(), wire.Message{To: m.From, Payload: m.Payload}); err != nil {
					echoed <- err
					return
				}
			}
			echoed <- nil
		}()
		for i := range n {
			var m wire.Message
			select {
			case m = <-gui.Messages():
			case <-time.After(time.Minute):
				t.Fatalf("message %d did not come back: %v", i, <-echoed)
			}
			if got := int(m.Payload[0][0])<<8 | int(m.Payload[0][1]); got != i {
				t.Fatalf("message %d came back at place %d", got, i)
			}
		}
		if err := <-echoed; err != nil {
			t.Fatalf("a message was not answered: %v", err)
		}
		if took := time.Since(begun); took != 0 || echo.Context().Err() != nil {
			t.Errorf("it took %v, life %v", took, context.Cause(echo.Context()))
		}
		closed(t, echo)
		closed(t, gui)
		w.stop()
	})
}

// Methods that ask others themselves get their answers, though more requests wait than may run; one too many is told
// busy.
func TestSessionMethodsMayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		var laser *client.Session
		laser = w.signIn("laser", client.Component{Parallel: 2, Methods: map[string]client.Method{
			"measure": func(ctx context.Context, _ *client.Request) (any, error) {
				var out int
				err := laser.Call(ctx, "gui", "factor", nil, &out)
				return 2 * out, err
			},
		}})
		gui := w.signIn("gui", client.Component{Methods: map[string]client.Method{
			"factor": func(context.Context, *client.Request) (any, error) {
				time.Sleep(time.Second)
				return 21, nil
			},
		}})
		const n = 1200
		begun := time.Now()
		results := make(chan error, n)
		for range n {
			go func() {
				var out int
				err := gui.Call(t.Context(), "laser", "measure", nil, &out)
				if err == nil && out != 42 {
					err = fmt.Errorf("got %d", out)
				}
				results <- err
			}()
		}
		done, busy := 0, 0
		for range n {
			var rpc *client.RPCError
			switch err := <-results; {
			case err == nil:
				done++
			case errors.As(err, &rpc) && rpc.Code == -32000:
				busy++
			case wire.CodeOf(err) != wire.CodeUnknown: // its turn did not come in time
				t.Errorf("a call: %v", err)
			}
		}
		if took := time.Since(begun); done < 2*int(client.DefaultTimeout/time.Second)-2 || busy != n-1002 {
			t.Errorf("after %v %d were answered and %d told busy, want 2 a second and %d", took, done, busy, n-1002)
		}
		closed(t, laser)
		closed(t, gui)
		w.stop()
	})
}

// Who does not read holds the connection up, so that the coordinator tells senders busy, and loses nothing by it.
func TestSessionBlocksSendersWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		laser, gui := w.signIn("laser", client.Component{Inbox: true}), w.signIn("gui", client.Component{})
		const n = 2000
		for i := range n {
			if err := gui.Send(t.Context(), wire.Message{To: "laser", Payload: [][]byte{{byte(i >> 8), byte(i)}}}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		w.change("a", func(*fakeCoordinator) {
			if left := len(w.sessions["n1.laser"].conn.out); left < n-600 {
				t.Errorf("%d of %d messages were taken by one who reads none", n-left, n)
			}
		})
		time.Sleep(5 * time.Second) // less than the lease
		for i := range n {
			if m := <-laser.Messages(); int(m.Payload[0][0])<<8|int(m.Payload[0][1]) != i {
				t.Fatalf("message %v came at place %d", m.Payload[0], i)
			}
		}
		time.Sleep(time.Minute)
		if err := laser.Context().Err(); err != nil {
			t.Errorf("the session was lost: %v", context.Cause(laser.Context()))
		}
		life, begun := laser.Context(), time.Now()
		for range n {
			if err := gui.Send(t.Context(), wire.Message{To: "laser", Payload: [][]byte{{1}}}); err != nil {
				t.Fatal(err)
			}
		}
		<-life.Done() // while nobody reads no answer to a ping is heard
		if took := time.Since(begun); took > 9*time.Second {
			t.Errorf("it was given up after %v, want within nine tenths of the lease", took)
		}
		<-laser.Done()
		if !errors.Is(laser.Err(), client.ErrLost) {
			t.Errorf("it ended with %v, want ErrLost", laser.Err())
		}
		_ = laser.Close(t.Context())
		closed(t, gui)
		w.stop()
	})
}

// A result that no message can hold is an error to the caller, who waits for an answer.
func TestSessionResultAboveTheLimitIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 10*time.Second, "a")
		camera := w.signIn("camera", client.Component{Methods: map[string]client.Method{
			"film": func(context.Context, *client.Request) (any, error) {
				return client.Answer{Attachments: [][]byte{make([]byte, wire.MaxMessage)}}, nil
			},
		}})
		gui := w.signIn("gui", client.Component{})
		begun := time.Now()
		var rpc *client.RPCError
		err := gui.Call(t.Context(), "camera", "film", nil, nil)
		if !errors.As(err, &rpc) || rpc.Code != -32000 || !strings.Contains(string(rpc.Data), "too_large") {
			t.Errorf("the call ended with %v after %v, want -32000 too_large", err, time.Since(begun))
		}
		closed(t, camera)
		closed(t, gui)
		w.stop()
	})
}

// Every attempt that may be carried out late has a number below the next one's, so that it changes nothing then; and a
// conflict is none for good while there is such an attempt, since it may be with that.
func TestSessionNumbersItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 20*time.Second, "a", "b", "c", "d")
		laser := w.signIn("laser", client.Component{Ping: 2 * time.Second})
		life := laser.Context()
		w.change("b", func(s *fakeCoordinator) { s.silent = true }) // takes the sign-in and says nothing
		w.change("c", func(s *fakeCoordinator) {
			s.refuse = wire.Refuse(wire.CodeConflict, "n1.laser was taken over by coordinator b")
		})
		w.kill("a")
		for laser.Welcome().Home != "d" && life.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		if life.Err() != nil {
			t.Fatalf("lost by a conflict with its own attempt: %v", context.Cause(life))
		}
		w.change("a", func(s *fakeCoordinator) {
			got := [][]uint64{s.attempts, w.coordinator("b").attempts, w.coordinator("c").attempts, w.coordinator("d").attempts}
			if want := "[[0] [1] [2] [3]]"; fmt.Sprint(got) != want {
				t.Errorf("the attempts at each coordinator are %v, want %s", got, want)
			}
		})
		// What was answered is behind it: the next is one above, and a number that nobody has heard of is used again.
		w.change("a", func(s *fakeCoordinator) { s.down = true })
		w.kick("d")
		for again := false; !again; time.Sleep(10 * time.Millisecond) {
			w.change("d", func(s *fakeCoordinator) { again = len(s.attempts) > 1 })
		}
		w.change("d", func(s *fakeCoordinator) {
			if s.attempts[1] != 4 {
				t.Errorf("the next attempt is %d, want 4", s.attempts[1])
			}
		})
		closed(t, laser)
		w.stop()
	})
}

// The first sign-in is tried again under the same key, numbered; when the session of that key has come about and is
// over, the next begins another.
func TestSessionFirstSignInThatMayHaveBeenTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 20*time.Second, "a", "b", "c")
		w.change("a", func(s *fakeCoordinator) { s.silent = true })
		w.change("b", func(s *fakeCoordinator) {
			s.refuse = wire.Refuse(wire.CodeConflict, "session s of n1.laser is over: its lease ran out")
		})
		laser := w.signIn("laser", client.Component{})
		w.change("c", func(c *fakeCoordinator) {
			a, b := w.coordinator("a"), w.coordinator("b")
			if a.keys[0] != b.keys[0] || a.attempts[0] != 0 || b.attempts[0] != 1 {
				t.Errorf("tried with key %s as %d, then with %s as %d; want the same key, numbered", a.keys[0], a.attempts[0], b.keys[0], b.attempts[0])
			}
			if c.keys[0] == b.keys[0] || c.attempts[0] != 0 {
				t.Errorf("after the end of that session tried with key %s as %d, want another key", c.keys[0], c.attempts[0])
			}
		})
		closed(t, laser)
		w.stop()
	})
	// Where no attempt is open a conflict is final.
	synctest.Test(t, func(t *testing.T) {
		w := newFakeCluster(t, 20*time.Second, "a", "b")
		w.change("a", func(s *fakeCoordinator) { s.refuse = wire.Refuse(wire.CodeConflict, "somebody else") })
		_, err := client.Dial(t.Context(), client.Component{Addrs: []string{"a", "b"}, SignIn: wire.SignIn{Name: "laser"}, Dialer: w.dial})
		wantCode(t, err, wire.CodeConflict, "a conflict with others")
		w.stop()
	})
}
