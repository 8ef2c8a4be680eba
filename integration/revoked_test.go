package integration_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// What goes on by a token ends with it, at a coordinator other than the one that was told: sessions by TCP and WebSocket,
// streams, waits, and a worker with a part that runs. The sessions end in the entry of the log that ends the token, and
// nobody is told of anything that happened since.
func TestWhatGoesOnByATokenEndsWithIt(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	t.Run("revoked", func(t *testing.T) {
		t.Parallel()
		made := l.create(wire.NewToken{Grants: []string{"write@*"}})
		on := l.begin(t, "revoked", made.Token)
		g := newGate(t)
		l.startWorker(t, "leaves", made.Token, l.nodes[1])
		l.workers("n2.leaves")
		l.submit(l.nodes[0], g.job("moves", 1))
		g.began(0, 1)
		pid, err := strconv.Atoi(exists(t, filepath.Join(g.dir, "began0.1")))
		if err != nil {
			t.Fatal(err)
		}
		l.startWorker(t, "stays", operatorToken, l.nodes[2])
		l.workers("n2.leaves", "n3.stays")
		meta, err := l.nodes[0].api().RevokeToken(t.Context(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		told := time.Now()
		on.names = append(on.names, "n2.leaves")
		if at := on.ended(l, told); at != meta.Index {
			t.Errorf("the sessions ended at %d, the token at %d: want one step", at, meta.Index)
		}
		g.began(0, 2)
		isGone(t, pid)
		g.open(0, 1)
		l.cluster.ended("moves", "done")
		if parts := l.parts("moves"); len(parts) != 1 || parts[0].Worker != "n3.stays" || parts[0].Attempt != 2 {
			t.Errorf("the parts are %+v, want the one done by n3.stays at its second try", parts)
		}
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		for ttl := 5 * time.Second; ; ttl *= 2 { // until all had begun in time
			made := l.create(wire.NewToken{Grants: []string{"write@*"}, TTL: wire.Duration(ttl)})
			on := l.begin(t, "expired"+strconv.Itoa(int(ttl/time.Second)), made.Token)
			if time.Now().After(*made.Expires) {
				on.wait()
				continue
			}
			on.ended(l, *made.Expires)
			return
		}
	})
	t.Run("taken out of the file", func(t *testing.T) {
		t.Parallel()
		on := l.begin(t, "file", l.second)
		on.kind = "expired" // of which the log knows no more
		if err := os.WriteFile(l.file, []byte(operatorToken+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		on.ended(l, time.Now())
	})
}

// locked is a cluster that asks for tokens, each coordinator by a file of its own; of n2's the second line is another.
type locked struct {
	*cluster
	second string
	file   string // n2's
}

func newLocked(t *testing.T) *locked {
	t.Helper()
	l := &locked{cluster: newCluster(t, 3, steadyLeader...), second: "second-" + strings.Repeat("fedcba9876543210", 3)}
	for _, p := range l.nodes {
		if p.name == "n2" {
			l.file = p.asksForToken(operatorToken, l.second)
		} else {
			p.asksForToken(operatorToken)
		}
		p.start()
	}
	l.waitHealthy(3)
	if _, _, err := l.api().RaiseLevel(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	return l
}

// create makes a token that every coordinator knows when it returns.
func (l *locked) create(in wire.NewToken) wire.Token {
	l.t.Helper()
	made, meta, err := l.nodes[0].api().CreateToken(l.t.Context(), in)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, p := range l.nodes {
		if _, _, err := p.api().Namespaces(l.t.Context(), client.Read{Index: meta.Index}); err != nil {
			l.t.Fatal(err)
		}
	}
	return made
}

// startWorker starts a worker that presents a token.
func (l *locked) startWorker(t *testing.T, name, token string, at *process) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, program: "worker", log: &logFile{}, args: []string{
		"--addr", at.http, "--name", name, "--slots", "1", "--dir", t.TempDir(), "--token-file", file,
	}}
	t.Cleanup(p.end)
	p.start()
}

// workers waits until exactly these are signed in; they are in the order of their names.
func (l *locked) workers(names ...string) {
	l.t.Helper()
	eventually(l.t, fmt.Sprintf("the workers %v", names), func(ctx ctx) error {
		all, _, err := l.api().Workers(ctx, client.Read{})
		if err != nil {
			return err
		}
		var there []string
		for _, w := range all.Workers {
			there = append(there, w.FullName)
		}
		if slices.Sort(there); !slices.Equal(there, names) {
			return fmt.Errorf("there are %v", there)
		}
		return nil
	})
}

// goingOn is what was begun at n2 by one token.
type goingOn struct {
	t     *testing.T
	names []string // of its sessions
	since uint64   // index before it began
	kind  string   // of the events that tell of their end
	wg    sync.WaitGroup

	mu   sync.Mutex
	over map[string]string // by what it is: how it ended
	seen map[string]uint64 // the newest index that it was told of
	when map[string]time.Time
}

// begin begins whatever may go on by a token, at n2.
func (l *locked) begin(t *testing.T, name, token string) *goingOn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	at := l.nodes[1]
	on := &goingOn{t: t, kind: "removed", over: map[string]string{}, seen: map[string]uint64{}, when: map[string]time.Time{}}
	t.Cleanup(on.wait)
	t.Cleanup(cancel)
	api, err := client.New(client.Config{Addrs: []string{at.http}, Token: token, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	first, meta, err := api.SignIn(ctx, wire.SignIn{Name: name + "-rest", Lease: wire.Duration(10 * time.Minute)}, "")
	if wire.CodeOf(err) == wire.CodeUnauthorized {
		return on // it has expired meanwhile
	}
	if err != nil {
		t.Fatal(err)
	}
	on.since, on.names = meta.Index, []string{first.FullName}
	lease := wire.Duration(time.Minute)
	for door, dial := range map[string]func() (*client.Session, error){
		"native": func() (*client.Session, error) {
			return client.Dial(ctx, client.Component{Addrs: []string{at.component}, Token: token, SignIn: wire.SignIn{Name: name + "-native", Lease: lease}})
		},
		"ws": func() (*client.Session, error) {
			return api.Dial(ctx, client.Component{SignIn: wire.SignIn{Name: name + "-ws", Lease: lease}})
		},
	} {
		s, err := dial()
		if wire.CodeOf(err) == wire.CodeUnauthorized {
			return on
		}
		if err != nil {
			t.Fatalf("sign in by %s: %v", door, err)
		}
		t.Cleanup(func() { s.Close(ctx) })
		on.names = append(on.names, s.FullName())
		events, err := s.Watch(ctx, wire.TopicComponent)
		if err != nil {
			on.end(door, err)
			continue
		}
		on.follow(door+" watch", events)
		on.run(door, func() error { <-s.Done(); return s.Err() })
	}
	on.follow("stream", api.Events(ctx, client.Events{Topics: []string{wire.TopicComponent}, Index: on.since}))
	still := l.submit(l.nodes[0], wire.SubmitJob{ID: "still-" + name, Runtime: "sh", Script: "true", Items: numbers(1), Labels: map[string]string{"nobody": "has"}})
	for what, path := range map[string]string{
		"inbox": "/v1/components/" + first.FullName + "/messages?wait=50s", "job": fmt.Sprintf("/v1/jobs/%s?wait=50s&index=%d", still.ID, still.Index),
		// Its row changes in the entry that ends the token.
		"component": fmt.Sprintf("/v1/components/%s?wait=50s&index=%d", first.FullName, first.Index),
	} {
		on.run(what, func() error {
			got, err := at.tryAsk("GET", path, "", "Authorization", "Bearer "+token, "X-Session", first.Secret)
			if err == nil {
				err = fmt.Errorf("%d %s", got.status, got.body)
			}
			return err
		})
	}
	return on
}

func (g *goingOn) run(what string, do func() error) { g.wg.Go(func() { g.end(what, do()) }) }

// end notes how something ended.
func (g *goingOn) end(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over[what], g.when[what] = fmt.Sprint(err), time.Now()
}

// follow reads events until they end.
func (g *goingOn) follow(what string, events iter.Seq2[wire.Event, error]) {
	g.run(what, func() error {
		for e, err := range events {
			if err != nil {
				return err
			}
			g.mu.Lock()
			g.seen[what] = max(g.seen[what], e.Index)
			g.mu.Unlock()
		}
		return errors.New("no more")
	})
}

func (g *goingOn) wait() { g.wg.Wait() }

// ended waits for the end of all of it and returns the index at which the sessions ended. since is when the token ended.
func (g *goingOn) ended(l *locked, since time.Time) (at uint64) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	left := map[string]bool{}
	for _, name := range g.names {
		left[name] = true
	}
	for e, err := range l.nodes[0].api().Events(ctx, client.Events{Topics: []string{wire.TopicComponent}, Index: g.since}) {
		if err != nil {
			g.t.Fatalf("%v have not ended: %v", left, err)
		}
		if !left[e.Key] || e.Kind == "signed_in" || e.Kind == "moved" {
			continue
		}
		if e.Kind != g.kind || e.Reason != "token revoked" || at != 0 && at != e.Index {
			g.t.Errorf("%s: %s at %d, %q; want it %s at %d for its token was revoked", e.Key, e.Kind, e.Index, e.Reason, g.kind, at)
		}
		at = e.Index
		if delete(left, e.Key); len(left) == 0 {
			break
		}
	}
	late, _, err := l.nodes[0].api().SignIn(ctx, wire.SignIn{Name: "late-" + strconv.FormatUint(at, 10)}, "") // of which nobody is told
	if err != nil {
		g.t.Fatal(err)
	}
	g.wait()
	for what, how := range g.over {
		told := strings.Contains(how, "unauthorized") || strings.Contains(how, "session is lost") || strings.Contains(how, "token revoked")
		if !told || strings.Contains(how, late.FullName) {
			g.t.Errorf("%s ended with %s, want it told that its token is not valid any more", what, how)
		}
		if g.seen[what] >= at {
			g.t.Errorf("%s was told of index %d, the token ended at %d", what, g.seen[what], at)
		}
		g.t.Logf("%s ended %v after its token: %s", what, g.when[what].Sub(since).Round(time.Millisecond), how)
		if took := g.when[what].Sub(since); took > patience/2 {
			g.t.Errorf("%s ended %v after its token", what, took)
		}
	}
	return at
}
