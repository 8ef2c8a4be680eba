package fsm_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

// A domain has the index of its own last change; who waits for one is woken by
// that alone, and by a restore.
func TestResourcesChangeByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := founded(t)
		m.Apply(2, [][]byte{encode(t, registry.KindSignIn, t0, signIn("laser", "s1"))})
		m.Apply(3, nil)
		v := m.View()
		if c, o, j := v.Changed(fsm.Components), v.Changed(fsm.Coordinators), v.Changed(fsm.Jobs); c != 2 || o != 1 || j != 0 || v.Changed(fsm.All) != 3 {
			t.Errorf("at 3: components %d, coordinators %d, jobs %d, all %d; want 2, 1, 0, 3", c, o, j, v.Changed(fsm.All))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- m.WaitFor(ctx, fsm.Coordinators, 2) }()
		woken := make(chan error, 1)
		go func() { woken <- m.WaitFor(ctx, fsm.Components, 3) }()
		m.Apply(4, [][]byte{encode(t, registry.KindSignIn, t0, signIn("camera", "s2"))})
		synctest.Wait()
		select {
		case err := <-woken:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("a sign-in did not wake who waits for components")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the wait for coordinators ended by a sign-in: %v", err)
		}
		other := fsm.New()
		go func() { ended <- other.WaitFor(t.Context(), fsm.Jobs, 2) }()
		synctest.Wait()
		if err := other.Restore(bytes.NewReader(snapshot(t, m))); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || other.View().Changed(fsm.Jobs) != 4 {
			t.Errorf("after a restore at 4 jobs changed at %d, %v", other.View().Changed(fsm.Jobs), err)
		}
	})
}
