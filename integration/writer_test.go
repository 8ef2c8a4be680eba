package integration_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// writer is a client that signs components in, one after the other, and tries
// each at one coordinator after the other until it is told that it is in.
type writer struct {
	t         *testing.T
	cluster   *cluster
	namespace string          // of the components; "" is that of whoever is asked
	at        func() []string // whom to ask
	stop      context.CancelFunc
	done      sync.WaitGroup
	mu        sync.Mutex
	in        []string
}

// startWriter starts a writer, which ends with the test at the latest.
func (c *cluster) startWriter(namespace string, at func() []string) *writer {
	ctx, cancel := context.WithCancel(c.t.Context())
	w := &writer{t: c.t, cluster: c, namespace: namespace, at: at, stop: cancel}
	w.done.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			w.signIn(ctx, fmt.Sprintf("w%d", n), client.NewKey())
		}
	})
	c.t.Cleanup(func() { cancel(); w.done.Wait() })
	return w
}

// countWrites starts a writer that asks any coordinator of the cluster.
func (c *cluster) countWrites() *writer {
	var all []string
	for _, p := range c.nodes {
		all = append(all, p.http)
	}
	return c.startWriter("", func() []string { return all })
}

func (w *writer) signIn(ctx context.Context, name, key string) {
	for try := 0; ctx.Err() == nil; try++ {
		at := w.at()
		if len(at) == 0 {
			continue
		}
		c, err := client.New(client.Config{Addrs: []string{at[try%len(at)]}, Timeout: 10 * time.Second})
		if err != nil {
			w.t.Error(err)
			return
		}
		in, _, err := c.SignIn(ctx, wire.SignIn{Namespace: w.namespace, Name: name, Lease: wire.Duration(time.Hour)}, key)
		c.Close()
		if err == nil {
			w.mu.Lock()
			w.in = append(w.in, in.FullName)
			w.mu.Unlock()
			return
		}
	}
}

func (w *writer) written() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.in)
}

// more waits until the writer was told of further writes than before.
func (w *writer) more() {
	w.t.Helper()
	before := len(w.written())
	eventually(w.t, "the writer to go on", func(ctx) error {
		if n := len(w.written()); n <= before {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})
}

// finish ends the writer and checks that nothing is lost that it was told is in.
func (w *writer) finish() {
	w.t.Helper()
	w.more()
	w.stop()
	w.done.Wait()
	if lost := w.lost(); len(lost) > 0 {
		w.t.Errorf("of %d components that were signed in %d are lost: %q", len(w.written()), len(lost), lost)
	}
}

// lost are the writes that the writer was told of and that are not there.
func (w *writer) lost() (names []string) {
	w.t.Helper()
	there := map[string]bool{}
	for page := (client.Page{Limit: 10_000}); ; {
		all, _, err := w.cluster.api().Components(w.t.Context(), client.Components{Page: page, Read: client.Read{Consistency: "strict"}})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range all.Components {
			there[c.FullName] = true
		}
		if page.After = all.Next; page.After == "" {
			break
		}
	}
	for _, name := range w.written() {
		if !there[name] {
			names = append(names, name)
		}
	}
	return names
}
