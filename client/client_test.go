package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// An address that failed goes to the back: the next call begins with the one that answered.
func TestDeadAddressGoesToTheBack(t *testing.T) {
	t.Parallel()
	dead := deadAddr(t)
	live, asked := coordinator(t, func(w http.ResponseWriter, r *http.Request) { say(w, 200, wire.Leader{ID: "n2"}) })
	c := dial(t, client.Config{Addrs: []string{dead, live.URL}})
	l, meta, err := c.Leader(t.Context())
	if err != nil || l.ID != "n2" {
		t.Fatalf("leader with the first of two addresses dead: got %+v, %v, want n2", l, err)
	}
	if diff := cmp.Diff([]string{live.URL, dead}, c.Addrs()); diff != "" {
		t.Errorf("order after one dial failed (-want +got):\n%s", diff)
	}
	want := client.Meta{Index: 812, Leader: "n2", Consistency: "default", StaleMs: 3, Addr: live.URL, Body: meta.Body}
	if diff := cmp.Diff(want, meta); diff != "" {
		t.Errorf("meta (-want +got):\n%s", diff)
	}
	if asked.times() != 1 {
		t.Errorf("the live coordinator was asked %d times, want once", asked.times())
	}
}

// An answer that tells no age is not fresh, but of an age that is not known.
func TestAMissingAgeIsNotKnown(t *testing.T) {
	t.Parallel()
	silent, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{}"))
	})
	c := dial(t, client.Config{Addrs: []string{silent.URL}})
	if _, meta, err := c.Leader(t.Context()); err != nil || meta.StaleMs != -1 {
		t.Errorf("got an age of %d ms (%v), want -1", meta.StaleMs, err)
	}
}

// What one coordinator did not try, another one may.
func TestUnavailableIsAskedAtTheNextCoordinator(t *testing.T) {
	t.Parallel()
	none, a := coordinator(t, func(w http.ResponseWriter, r *http.Request) { refuse(w, 503, wire.CodeUnavailable, "no leader") })
	live, b := coordinator(t, func(w http.ResponseWriter, r *http.Request) { say(w, 201, wire.Member{ID: "n4"}) })
	c := dial(t, client.Config{Addrs: []string{none.URL, live.URL}})
	m, _, err := c.AddMember(t.Context(), wire.AddMember{Address: "n4:7300"}, client.MemberChange{})
	if err != nil || m.ID != "n4" {
		t.Fatalf("add member, 503 at the first: got %+v, %v", m, err)
	}
	if a.times() != 1 || b.times() != 1 {
		t.Errorf("asked %d and %d times, want once each", a.times(), b.times())
	}
}

// Everything unavailable until the context ends is unavailable, and names who said so.
func TestUnavailableEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := remote(t, client.Config{Addrs: []string{"none", "dead"}}, map[string]http.HandlerFunc{
			"none": func(w http.ResponseWriter, r *http.Request) { refuse(w, 503, wire.CodeUnavailable, "no leader") },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, _, err := c.RemoveMember(ctx, "n4", client.MemberChange{})
		wantCode(t, err, wire.CodeUnavailable, "remove member, nobody can")
		if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "refused") {
			t.Errorf("error %v: want the deadline or the refused dial as cause", err)
		}
		if !strings.Contains(err.Error(), "DELETE /v1/members/n4 at none:7380: unavailable: no leader") {
			t.Errorf("error %q does not say what was asked of whom", err)
		}
	})
}

// Who says that there is no leader is worth more than who says nothing, and a write is not begun again where it could
// only be cut off: it would be unknown without need.
func TestErrorNamesTheMissingLeader(t *testing.T) {
	patient := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(3 * time.Second):
			refuse(w, 503, wire.CodeUnavailable, "no leader is known")
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	for _, tc := range []struct {
		what string
		do   func(ctx context.Context, c *client.Client) error
	}{
		{"a read", func(ctx context.Context, c *client.Client) error {
			_, _, err := c.Members(ctx, client.Read{})
			return err
		}},
		{"a write", func(ctx context.Context, c *client.Client) error {
			_, _, err := c.RemoveMember(ctx, "n4", client.MemberChange{})
			return err
		}},
		{"a write that may be repeated", func(ctx context.Context, c *client.Client) error {
			_, _, err := c.CancelJob(ctx, "j1", "")
			return err
		}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := remote(t, client.Config{Addrs: []string{"dead", "alone"}, Silent: 3}, map[string]http.HandlerFunc{"alone": patient})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				err := tc.do(ctx, c)
				wantCode(t, err, wire.CodeUnavailable, tc.what+" without a leader")
				if !strings.Contains(err.Error(), "at alone:7380: unavailable: no leader is known") {
					t.Errorf("%s without a leader: got %v, want the words of the one that answered", tc.what, err)
				}
			})
		})
	}
}

// Silence is told with the time that it took.
func TestSilenceErrorIsReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		c := remote(t, client.Config{Addrs: []string{"hung"}, Attempt: 2 * time.Second, Timeout: 3 * time.Second}, map[string]http.HandlerFunc{"hung": hung})
		_, _, err := c.RemoveMember(t.Context(), "n4", client.MemberChange{})
		wantCode(t, err, wire.CodeUnknown, "a write, the coordinator hangs")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, late := c.Members(ctx, client.Read{})
		for _, e := range []struct {
			err  error
			want string
		}{{err, "the outcome is unknown: no answer within "}, {late, "at hung:7380: unavailable: no answer in time"}} {
			if !strings.Contains(e.err.Error(), e.want) || strings.Contains(e.err.Error(), "context") || !errors.Is(e.err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %q in it, and a deadline as its cause", e.err, e.want)
			}
		}
	})
}

// With Silent a call gives up when nobody listens anywhere.
func TestSilentRoundsEndACall(t *testing.T) {
	t.Parallel()
	c := dial(t, client.Config{Addrs: []string{deadAddr(t)}, Silent: 2, Timeout: time.Minute})
	begun := time.Now()
	_, _, err := c.Leader(t.Context())
	wantCode(t, err, wire.CodeUnavailable, "nobody listens")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("gave up after %s, want long before the deadline of a minute", took)
	}
}

// A write of unknown outcome is not repeated, unless its id makes a repeat harmless.
func TestUnknownIsRepeatedOnlyWithAnID(t *testing.T) {
	t.Parallel()
	unknown := func(w http.ResponseWriter, r *http.Request) { refuse(w, 504, wire.CodeUnknown, "leadership lost") }
	first, a := coordinator(t, unknown)
	second, b := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		say(w, 202, wire.Job{ID: r.Header.Get("Idempotency-Key")})
	})
	c := dial(t, client.Config{Addrs: []string{first.URL, second.URL}})

	_, _, err := c.RemoveMember(t.Context(), "n4", client.MemberChange{})
	wantCode(t, err, wire.CodeUnknown, "remove member")
	if a.times() != 1 || b.times() != 0 {
		t.Fatalf("remove member of unknown outcome: asked %d and %d times, want 1 and 0", a.times(), b.times())
	}
	j, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh"})
	if err != nil || len(j.ID) != 32 {
		t.Fatalf("submit, first attempt unknown: got %+v, %v, want the job under the key minted", j, err)
	}
}

// A restore is repeated under one key, so that it is one; the next call is another.
func TestARestoreHasAKey(t *testing.T) {
	t.Parallel()
	keys := make(chan string, 10)
	first, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		refuse(w, 504, wire.CodeUnknown, "leadership lost")
	})
	second, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		say(w, 200, wire.Restored{Cluster: "c1"})
	})
	c := dial(t, client.Config{Addrs: []string{first.URL, second.URL}})
	for range 2 {
		if _, _, err := c.Restore(t.Context(), []byte("file"), "c1", false); err != nil {
			t.Fatal(err)
		}
	}
	a, b, other := <-keys, <-keys, <-keys
	if a != b || len(a) != 32 || other == a {
		t.Errorf("restored under the keys %q and %q, and the next one under %q", a, b, other)
	}
}

// An attempt that may have happened stays unknown, whatever later attempts were told.
func TestUnknownIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := remote(t, client.Config{Addrs: []string{"first", "second"}, Timeout: 300 * time.Millisecond}, map[string]http.HandlerFunc{
			"first":  func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
			"second": func(w http.ResponseWriter, r *http.Request) { refuse(w, 503, wire.CodeUnavailable, "no leader") },
		})
		_, _, err := c.CancelJob(t.Context(), "j1", "")
		wantCode(t, err, wire.CodeUnknown, "cancel: connection lost at one, not tried at the other")
	})
}

// A connection that breaks after the request was sent is unknown for a write and asked again for a read.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	cut, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	live, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) { say(w, 200, wire.Members{}) })
	c := dial(t, client.Config{Addrs: []string{cut.URL, live.URL}})
	_, _, err := c.Send(t.Context(), "secret", wire.SendMessage{To: "n1.x"}, "")
	wantCode(t, err, wire.CodeUnknown, "send, connection cut")
	if _, _, err := c.Members(t.Context(), client.Read{}); err != nil {
		t.Fatalf("members, connection cut at the first: %v", err)
	}
}

// A coordinator that hangs costs one attempt, not the whole call.
func TestHangingCoordinatorIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := remote(t, client.Config{Addrs: []string{"hung", "live"}, Attempt: 100 * time.Millisecond}, map[string]http.HandlerFunc{
			"hung": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"live": func(w http.ResponseWriter, r *http.Request) { say(w, 200, wire.Leader{ID: "n2"}) },
		})
		begun := time.Now()
		if l, _, err := c.Leader(t.Context()); err != nil || l.ID != "n2" {
			t.Fatalf("leader with the first coordinator hanging: got %+v, %v", l, err)
		}
		if took := time.Since(begun); took != 100*time.Millisecond {
			t.Errorf("it took %v, want one attempt of 100 ms", took)
		}
	})
}

// Every refusal arrives as the wire error it left as, and is not repeated.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		code   wire.Code
	}{
		{400, wire.CodeInvalid},
		{401, wire.CodeUnauthorized},
		{403, wire.CodeForbidden},
		{404, wire.CodeNotFound},
		{409, wire.CodeNameTaken},
		{409, wire.CodeConflict},
		{413, wire.CodeTooLarge},
		{429, wire.CodeBusy},
		{500, wire.CodeInternal},
	} {
		s, asked := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "2")
			refuse(w, tc.status, tc.code, "because")
		})
		other, never := coordinator(t, func(w http.ResponseWriter, r *http.Request) { say(w, 200, nil) })
		c := dial(t, client.Config{Addrs: []string{s.URL, other.URL}})
		_, _, err := c.SignIn(t.Context(), wire.SignIn{Name: "laser"}, "")
		var e *wire.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: got %T %v, want a *wire.Error inside", tc.code, err, err)
		}
		want := &wire.Error{Code: tc.code, Message: "because", RetryAfter: 2 * time.Second}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.code, diff)
		}
		if asked.times() != 1 || never.times() != 0 {
			t.Errorf("%s: asked %d and %d times, want 1 and 0: a refusal is certain", tc.code, asked.times(), never.times())
		}
	}
}

// An answer that is no coordinator's: a proxy's 502 may have let the write through.
func TestForeignAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := remote(t, client.Config{Addrs: []string{"proxy"}, Timeout: 200 * time.Millisecond}, map[string]http.HandlerFunc{
			"proxy": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		})
		_, _, err := c.RemoveMember(t.Context(), "n4", client.MemberChange{})
		wantCode(t, err, wire.CodeUnknown, "write through a proxy that answers 502")
		_, _, err = c.Leader(t.Context())
		wantCode(t, err, wire.CodeUnavailable, "read through a proxy that answers 502")
	})
}

// A sign-out without a secret would be an operator's removal: it is not sent.
func TestSignOutNeedsTheSecret(t *testing.T) {
	t.Parallel()
	s, asked := coordinator(t, func(w http.ResponseWriter, r *http.Request) { say(w, 200, nil) })
	c := dial(t, client.Config{Addrs: []string{s.URL}})
	_, err := c.SignOut(t.Context(), "n1.laser", "")
	wantCode(t, err, wire.CodeInvalid, "sign out without a secret")
	if asked.times() != 0 {
		t.Errorf("it was sent %d times, want never", asked.times())
	}
}

func TestNewRefusesBadAddresses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"", "ftp://n1:7380", "http://n1:7380/v1", "http://n1:7380?x=1", "http://"} {
		if _, err := client.New(client.Config{Addrs: []string{addr}}); err == nil {
			t.Errorf("address %q: got none, want an error", addr)
		}
	}
}

// Queries are written as the contract names them.
func TestQueries(t *testing.T) {
	t.Parallel()
	var got string
	s, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) { got = r.URL.RequestURI(); say(w, 200, struct{}{}) })
	c := dial(t, client.Config{Addrs: []string{s.URL}, Token: "t"})
	for _, tc := range []struct {
		call func() error
		want string
	}{
		{func() error {
			_, _, err := c.Components(t.Context(), client.Components{
				Namespace: "n1", Prefix: "n1.l", Match: "^n1", Labels: map[string]string{"role": "cam"},
				Page: client.Page{Limit: 5, After: "n1.a"}, Read: client.Read{Consistency: "strict", Index: 7, Wait: 30 * time.Second},
			})
			return err
		}, "/v1/components?after=n1.a&consistency=strict&index=7&label=role%3Dcam&limit=5&match=%5En1&namespace=n1&prefix=n1.l&wait=30s"},
		{func() error {
			_, _, err := c.Jobs(t.Context(), client.Jobs{State: "done", Group: "g", Namespace: "lab1", Filter: "name == a"})
			return err
		}, "/v1/jobs?filter=name+%3D%3D+a&group=g&namespace=lab1&state=done"},
		{func() error { _, _, err := c.Component(t.Context(), "n1.a/b c", client.Read{}); return err }, "/v1/components/n1.a%2Fb%20c"},
		{func() error { _, _, err := c.Digest(t.Context(), 12); return err }, "/v1/digest?index=12"},
		{func() error { _, _, err := c.Level(t.Context(), client.Read{Consistency: "strict"}); return err }, "/v1/level?consistency=strict"},
		{func() error {
			_, _, err := c.Parts(t.Context(), "j1", client.Page{After: "9"}, client.Read{})
			return err
		}, "/v1/jobs/j1/parts?after=9"},
		{func() error { _, err := c.RemoveComponent(t.Context(), "n1.x", "old one"); return err }, "/v1/components/n1.x?reason=old+one"},
		{func() error {
			_, err := c.Call(t.Context(), wire.Coordinator, "sync_parts", wire.SyncParts{}, nil, client.CallOptions{Secret: "s", Timeout: time.Second, Repeatable: true})
			return err
		}, "/v1/call/COORDINATOR/sync_parts?timeout=1s"},
	} {
		if err := tc.call(); err != nil {
			t.Fatalf("%s: %v", tc.want, err)
		}
		if got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

// An index of another cluster asks for nothing: the answer of the one that was founded since is taken.
func TestIndexOfAnotherCluster(t *testing.T) {
	t.Parallel()
	s, _ := coordinator(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Cluster", "new")
		say(w, 200, wire.Components{}) // at index 812
	})
	c := dial(t, client.Config{Addrs: []string{s.URL}, Timeout: time.Minute})
	_, meta, err := c.Components(t.Context(), client.Components{Read: client.Read{Index: 900, Cluster: "old"}})
	if err != nil || meta.Index != 812 || meta.Cluster != "new" {
		t.Errorf("with an index of another cluster: %v at %d of %q, want the answer at 812 of the new one", err, meta.Index, meta.Cluster)
	}
	hasty := dial(t, client.Config{Addrs: []string{s.URL}, Timeout: 300 * time.Millisecond})
	if _, _, err := hasty.Components(t.Context(), client.Components{Read: client.Read{Index: 900, Cluster: "new"}}); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("with an index of the same cluster that is not reached: %v, want unavailable", err)
	}
}
