package fsm_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Whatever is handed in, Check rejects it, or Apply does the same with it on
// two machines of which one was restored, and never stops either.
func FuzzApply(f *testing.F) {
	for kind, commands := range examples() {
		f.Add(encode(f, kind, t0, commands[len(commands)-1].body))
	}
	f.Add([]byte(`{"v":1,"kind":"fsm.found","at":"2026-11-02T15:04:05Z","by":"\u00e4","body":{"Cluster":"c1","cluster":"c2"}}`))
	f.Add([]byte(`{"v":2}`))
	snap := snapshot(f, grown(f))
	f.Fuzz(func(t *testing.T, line []byte) {
		a, b := restored(t, snap), restored(t, snap)
		stopped := false
		a.Fatal = func(uint64, error) { stopped = true }
		index := a.View().Index
		if a.Check(line) != nil {
			a.Apply(index+1, [][]byte{line})
			return
		}
		first := a.Apply(index+1, [][]byte{line, line})
		if stopped {
			t.Fatalf("Check takes %q, Apply stops at it", line)
		}
		again := b.Apply(index+1, [][]byte{line, line})
		if x, y := asJSON(t, first), asJSON(t, again); x != y {
			t.Fatalf("%q: one answers %s, the other %s", line, x, y)
		}
		// A table that was written out and read in again goes on the same way.
		c := restored(t, snapshot(t, a))
		if x, y := asJSON(t, a.Apply(index+2, [][]byte{line})), asJSON(t, c.Apply(index+2, [][]byte{line})); x != y {
			t.Fatalf("%q, applied again: one answers %s, the restored one %s", line, x, y)
		}
		if x, y := snapshot(t, a), snapshot(t, c); !bytes.Equal(x, y) {
			t.Fatalf("%q: the snapshots differ:\n%s\n%s", line, x, y)
		}
		if len(line) > wire.MaxCommand {
			t.Fatalf("Check takes %d bytes", len(line))
		}
	})
}

// Whatever is handed in, a bad snapshot changes nothing and costs no memory it
// did not bring along; a good one is written again as the same bytes.
func FuzzRestore(f *testing.F) {
	snap := snapshot(f, grown(f))
	f.Add(snap, false)
	f.Add([]byte(strings.Join(unsealed(snap), "\n")), true)
	f.Add(snap[:len(snap)/2], false)
	f.Add([]byte(`{"v":1,"index":9000000000000000000,"events":1000000000,"cluster":"","level":1}`), true)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal { // so that the rows are looked at, not only the sum
			data = sealed(strings.Split(string(data), "\n")...)
		}
		m := founded(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		why := rejects(t, m, bytes.NewReader(data))
		runtime.ReadMemStats(&after)
		if grew, limit := after.TotalAlloc-before.TotalAlloc, uint64(2<<20+200*len(data)); grew > limit {
			t.Errorf("%d bytes of snapshot cost %d bytes of memory, want at most %d", len(data), grew, limit)
		}
		if why == "" && m.View().Index > 1 {
			one := snapshot(t, m)
			if two := snapshot(t, restored(t, one)); !bytes.Equal(one, two) {
				t.Errorf("restored and written again:\n%s\nonce more:\n%s", one, two)
			}
		}
		if level := m.View().Level; level < 1 || level > fsm.Level {
			t.Errorf("the level became %d", m.View().Level)
		}
	})
}
