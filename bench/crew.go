package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	sdk "github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// crew is the workers of a cluster.
type crew struct {
	real []*server
	none []*sdk.Session
}

// hire starts n workers and returns when all are signed in. The crew is to be
// dismissed also after an error.
func hire(ctx context.Context, o options, c *cluster, dir string, n, slots int) (*crew, error) {
	w := &crew{}
	c.run++
	for i := range n {
		at := c.servers[i%len(c.servers)]
		name := fmt.Sprintf("worker%d-%d", c.run, i)
		if c.system == "folkmoot-none" {
			one, err := idler(ctx, at, name, slots)
			if err != nil {
				return w, err
			}
			w.none = append(w.none, one)
			continue
		}
		s := &server{name: name, bin: o.worker, log: filepath.Join(dir, name+".log"), args: []string{
			"--addr", at.addr, "--name", name, "--runtimes", "sh", "--slots", strconv.Itoa(slots), "--log-level", "warn",
		}}
		if err := s.start(); err != nil {
			return w, err
		}
		w.real = append(w.real, s)
	}
	return w, present(ctx, c, n)
}

// present waits until n workers are signed in.
func present(ctx context.Context, c *cluster, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cl, err := sdk.New(sdk.Config{Addrs: []string{c.servers[0].addr}})
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		list, _, err := cl.Workers(ctx, sdk.Read{Consistency: "strict"})
		if err == nil && len(list.Workers) == n {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workers are signed in: %w", len(list.Workers), n, errors.Join(err, ctx.Err()))
		}
	}
}

// dismiss lets the workers sign out and waits for their end.
func (w *crew) dismiss() {
	closeNative(w.none...)
	var wg sync.WaitGroup
	for _, s := range w.real {
		wg.Go(s.end)
	}
	wg.Wait()
}

// idler is a worker that finishes every part as it comes, without running it.
func idler(ctx context.Context, s *server, name string, slots int) (*sdk.Session, error) {
	var self *sdk.Session
	ready := make(chan struct{})
	finish := func(ctx context.Context, r *sdk.Request) (any, error) {
		<-ready
		var in wire.RunParts
		if err := r.Decode(&in); err != nil {
			return nil, err
		}
		return nil, finished(ctx, self, in.Parts)
	}
	n, err := openNative(ctx, s, name, func(c *sdk.Component) {
		c.SignIn.Runtimes, c.SignIn.Slots = []string{"sh"}, slots
		c.Methods = map[string]sdk.Method{"run_parts": finish}
	})
	if err != nil {
		return nil, err
	}
	self = n
	close(ready)
	go syncParts(n)
	return n, nil
}

// syncParts finishes what hints were lost of, until the session is closed.
func syncParts(n *sdk.Session) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.Done():
			return
		}
		var todo wire.SyncedParts
		if n.Coordinator(n.Context(), "sync_parts", wire.SyncParts{Holding: []wire.PartRef{}}, &todo) == nil {
			_ = finished(n.Context(), n, todo.Run)
		}
	}
}

func finished(ctx context.Context, n *sdk.Session, parts []wire.RunPart) error {
	if len(parts) == 0 {
		return nil
	}
	var out wire.FinishParts
	for _, p := range parts {
		out.Parts = append(out.Parts, wire.PartDone{PartRef: p.PartRef, OK: true, Result: []byte("null")})
	}
	return n.Coordinator(ctx, "finish_parts", out, nil)
}
