package control_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A read that blocks is ended by what it reads and by nothing else, however
// busy the rest of the cluster is; and no change since its index is missed.
func TestReadsWaitForTheirOwn(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		signIn := func(name string, slots int) wire.SignedIn {
			in := wire.SignIn{Name: name, Slots: slots, Lease: wire.Duration(time.Hour)}
			if slots > 0 {
				in.Runtimes = []string{"sh"}
			}
			out, err := n1.SignIn(context.WithoutCancel(t.Context()), anyone, in, "")
			noError(t, err)
			return out
		}
		signIn("gui", 0)
		worker := signIn("worker", 2)
		n1.submit(t, "busy", 2)
		n1.submit(t, "calm", 2)
		again := 0
		noise := func(what string, i int) {
			switch what {
			case "jobs":
				again++
				n1.submit(t, fmt.Sprintf("noise%d", again), 1)
			case "components":
				again++
				signIn(fmt.Sprintf("noise%d", again), 0)
			case "worker":
				if i < 2 {
					w.assign("busy", i, 1, worker)
				}
			case "coordinators":
				w.apply(registry.KindAnnounce, registry.Announce{Coordinator: registry.Coordinator{ID: "n9", ServerID: "n9/1", Namespace: "n9", PeerAddr: "n9:1", HTTPAddr: fmt.Sprintf("n9:%d", w.index), Level: 1}})
			}
		}
		reads := map[string]func(control.Read) (control.Fresh, error){
			"components": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Components(t.Context(), anyone, r, directory.ComponentFilter{}, control.Page{})
				return f, err
			},
			"component": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Component(t.Context(), anyone, r, "n1.gui")
				return f, err
			},
			"namespaces": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Namespaces(t.Context(), anyone, r)
				return f, err
			},
			"members": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Members(t.Context(), anyone, r)
				return f, err
			},
			"workers": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Workers(t.Context(), anyone, r)
				return f, err
			},
			"jobs": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Jobs(t.Context(), anyone, r, work.JobFilter{}, control.Page{})
				return f, err
			},
			"job": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Job(t.Context(), anyone, r, "calm")
				return f, err
			},
			"parts": func(r control.Read) (f control.Fresh, err error) {
				_, f, err = n1.Parts(t.Context(), anyone, r, "calm", "", control.Page{})
				return f, err
			},
		}
		const wait, step = 6 * time.Second, 200 * time.Millisecond
		for _, c := range []struct {
			read, noise string
			wakes       bool
		}{
			{"components", "jobs", false},
			{"components", "coordinators", false},
			{"components", "components", true},
			{"component", "components", false},
			{"namespaces", "jobs", false},
			{"namespaces", "components", true},
			{"members", "jobs", false},
			{"members", "components", false},
			{"members", "coordinators", true},
			{"workers", "jobs", false},
			{"workers", "components", false},
			{"workers", "worker", true},
			{"jobs", "components", false},
			{"jobs", "jobs", true},
			{"job", "jobs", false},
			{"parts", "jobs", false},
		} {
			seen := n1.machine.View().Index
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				for i := 0; ctx.Err() == nil; i++ {
					time.Sleep(step)
					if ctx.Err() == nil {
						noise(c.noise, i)
					}
				}
			}()
			begin := time.Now()
			fresh, err := reads[c.read](control.Read{Index: seen, Wait: wait})
			took := time.Since(begin)
			stop()
			time.Sleep(step)
			synctest.Wait()
			noError(t, err)
			switch {
			case c.wakes && (took > 2*step || fresh.Index <= seen):
				t.Errorf("%s did not wake for %s: index %d after %d in %v", c.read, c.noise, fresh.Index, seen, took)
			case !c.wakes && took < wait-step:
				t.Errorf("%s woke for %s after %v", c.read, c.noise, took)
			}
			// What changed since then is answered at once, however long ago.
			begin = time.Now()
			_, err = reads[c.read](control.Read{Index: 1, Wait: wait})
			noError(t, err)
			if took := time.Since(begin); took != 0 {
				t.Errorf("%s behind an index of long ago took %v", c.read, took)
			}
		}
	}, "n1")
}

// The end of what is read is a change of it.
func TestReadsWaitForTheEnd(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		gui := n1.signIn(t, "gui")
		seen := n1.machine.View().Index
		go func() {
			time.Sleep(time.Second)
			n1.submit(t, "noise", 1)
			time.Sleep(time.Second)
			n1.SignOut(context.WithoutCancel(t.Context()), by(gui.Secret), gui.FullName)
		}()
		begin := time.Now()
		_, _, err := n1.Component(t.Context(), anyone, control.Read{Index: seen, Wait: time.Minute}, gui.FullName)
		refused(t, err, wire.CodeNotFound, gui.FullName)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("the sign-out was answered after %v, want 2s", took)
		}
	}, "n1")
}
