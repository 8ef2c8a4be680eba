package node_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// running is a node whose Run is asked to end by the test.
type running struct {
	*node.Node
	end   context.CancelFunc
	ended chan error
}

// serve opens a node and runs it; the test's end closes it.
func serve(t *testing.T, cfg node.Config) running {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := running{n, cancel, make(chan error, 1)}
	go func() { r.ended <- n.Run(ctx); close(r.ended) }()
	t.Cleanup(func() {
		cancel()
		n.Hurry()
		<-r.ended
		end, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		if err := n.Close(end); err != nil {
			t.Errorf("close %s: %v", cfg.ID, err)
		}
	})
	return r
}

// probe asks the operator's port.
func (r running) probe(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + r.Addrs().Ops + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// A leader that is to end is not ready at once, goes on serving, and at the end of
// that time has handed leadership over and is a member still.
func TestALeaderDrainsAndHandsOver(t *testing.T) {
	dir, peers := t.TempDir(), freeAddrs(t, 3)
	var all []running
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		all = append(all, serve(t, node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: peers[i], Join: peers, Expect: 3,
			Drain: 9 * time.Minute, HeartbeatTimeout: 3 * time.Second, // nobody is elected but by a hand-over
		}))
	}
	ready(t, all[0].Node, all[1].Node, all[2].Node)
	ask := func(r running) (*client.Client, wire.Status) {
		t.Helper()
		c := clientOf(t, "", r.Node)
		st, _, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c, st
	}
	_, st := ask(all[0])
	leader := all[st.Leader[1]-'1']
	c, st := ask(leader)

	leader.end()
	for code, said := leader.probe(t, "/readyz"); code != 503 || !strings.Contains(said, "stopping"); code, said = leader.probe(t, "/readyz") {
		if code != 200 {
			t.Fatalf("/readyz: %d %s", code, said)
		}
	}
	if code, said := leader.probe(t, "/livez"); code != 200 {
		t.Errorf("/livez while draining: %d %s", code, said)
	}
	if _, _, err := c.SignIn(t.Context(), wire.SignIn{Name: "late"}, ""); err != nil {
		t.Errorf("a sign-in while draining: %v", err)
	}
	if _, now := ask(leader); now.State != "leader" || now.Ready {
		t.Errorf("while draining it is %s, ready %t", now.State, now.Ready)
	}
	if !leader.Hurry() {
		t.Error("there was nothing to cut short")
	}
	if err := <-leader.ended; err != nil {
		t.Errorf("run: %v", err)
	}
	for _, r := range all {
		if r.Node == leader.Node {
			continue
		}
		if _, now := ask(r); now.Leader == st.Leader || now.Term != st.Term+1 || now.Voters != 3 {
			t.Errorf("%s sees %s leading in term %d among %d voters, want another than %s, one term after %d, among 3", now.ID, now.Leader, now.Term, now.Voters, st.Leader, st.Term)
		}
	}
}

// Without a time to drain the doors close at once.
func TestWithoutDrainRunEndsAtOnce(t *testing.T) {
	r := serve(t, node.Config{ID: "solo", DataDir: t.TempDir(), Drain: -1})
	ready(t, r.Node)
	r.end()
	if err := <-r.ended; err != nil {
		t.Errorf("run: %v", err)
	}
	if r.Hurry() {
		t.Error("it drained on loopback")
	}
}
