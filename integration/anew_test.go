package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// Whoever watches a cluster that loses all its disks and is founded anew is told
// that news were missed, and goes on with those of the new cluster: its indexes
// begin below those that the watcher has seen.
func TestWatchersOfAClusterFoundedAnew(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	n1 := c.nodes[0]
	for i := range 40 {
		in := c.signIn(n1, fmt.Sprintf("early%d", i), time.Hour)
		if _, err := n1.api().SignOut(t.Context(), in.FullName, in.Secret); err != nil {
			t.Fatal(err)
		}
	}
	before := n1.ask("GET", "/v1/components", "").header
	index, old := before.Get("X-Index"), before.Get("X-Cluster")

	watchers := map[string]<-chan wire.Event{}
	watchers["the SDK's stream"] = eventsOf(n1.api().Events(t.Context(), client.Events{Topics: []string{wire.TopicComponent}, Index: 1}))
	native, err := client.Dial(t.Context(), client.Component{
		Addrs: []string{n1.component}, SignIn: wire.SignIn{Name: "watcher", Lease: wire.Duration(time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer native.Close(context.WithoutCancel(t.Context()))
	news, err := native.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	watchers["the SDK's component"] = eventsOf(news)
	marks := t.TempDir()
	python(t)
	pythonEnded := make(chan struct{})
	go func() {
		defer close(pythonEnded)
		n1.pythonWatcher(c, marks)
	}()
	exists(t, filepath.Join(marks, "watching"))
	seen(t, "the SDK's stream", watchers["the SDK's stream"], "signed_in", "n1.early0")

	n1.kill()
	if err := os.RemoveAll(n1.data); err != nil {
		t.Fatal(err)
	}
	n1.start()
	c.waitHealthy(1)
	for name, told := range watchers {
		seen(t, name, told, client.KindLagged, "")
	}
	exists(t, filepath.Join(marks, "lagged"))

	for what, id := range map[string]string{"of the old cluster": index + ".0", "of the old cluster, by name": "1.0@" + old} {
		if old == "" {
			continue // nobody told one
		}
		first := n1.firstEvent(t, id)
		if !strings.Contains(first, "event: lagged") {
			t.Errorf("curl with a Last-Event-ID %s is told %q, want lagged", what, first)
		}
	}
	for _, query := range []string{
		"index=" + index + "&wait=10m",
		"index=1&wait=10m&cluster=" + old,
		"index=" + index + "&cluster=" + old,
	} {
		if a := n1.ask("GET", "/v1/components?"+query, ""); a.status != http.StatusOK || !strings.Contains(a.body, `"n1.watcher"`) {
			t.Errorf("a read with %s of the old cluster: %d %s", query, a.status, a.body)
		}
	}

	c.signIn(n1, "late", time.Hour)
	for name, told := range watchers {
		seen(t, name, told, "signed_in", "n1.late")
	}
	<-pythonEnded
}

// eventsOf are the events of a sequence, as they come.
func eventsOf(seq func(func(wire.Event, error) bool)) <-chan wire.Event {
	told := make(chan wire.Event, 1000)
	go func() {
		defer close(told)
		for e, err := range seq {
			if err != nil {
				return
			}
			told <- e
		}
	}()
	return told
}

// seen waits for an event.
func seen(t *testing.T, who string, told <-chan wire.Event, kind, key string) {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case e, more := <-told:
			if !more {
				t.Fatalf("%s ended; it was to see %s %s", who, kind, key)
			}
			if e.Kind == kind && e.Key == key {
				return
			}
		case <-end:
			t.Fatalf("%s has not seen %s %s", who, kind, key)
		}
	}
}

// pythonWatcher runs the Python SDK's watcher of a cluster that is founded anew.
func (p *process) pythonWatcher(c *cluster, marks string) {
	c.pythonSDK(map[string]string{p.name: p.component}, []string{"FOLKMOOT_ANEW=" + marks}, "test_anew")
}

// firstEvent is the first event with data that a stream of events behind an id
// tells.
func (p *process) firstEvent(t *testing.T, id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Last-Event-ID", id)
	rs, err := plain.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer rs.Body.Close()
	var block []string
	for lines := bufio.NewScanner(rs.Body); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "data:"):
			return strings.Join(append(block, line), "\n")
		case line == "":
			block = nil
		default:
			block = append(block, line)
		}
	}
	return "nothing"
}
