package work_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// offered is asked once: it starts every interpreter.
var offered = sync.OnceValue(func() []work.Runtime {
	all, _ := work.Offered(nil)
	return all
})

// home is a coordinator in a few lines: it holds what is assigned, takes each
// report once, and can be made to fail.
type home struct {
	hints chan work.Hint

	mu       sync.Mutex
	assigned map[wire.PartRef]wire.RunPart
	started  map[wire.PartRef]int
	done     map[wire.PartRef]wire.PartDone
	logs     map[wire.PartRef][]byte
	batches  []int // sizes of finish_parts
	syncs    int
	fail     func(call string, parts int) error // nil: nothing fails
}

func newHome() *home {
	return &home{
		hints: make(chan work.Hint, 100), assigned: map[wire.PartRef]wire.RunPart{}, started: map[wire.PartRef]int{},
		done: map[wire.PartRef]wire.PartDone{}, logs: map[wire.PartRef][]byte{},
	}
}

func (h *home) Hints() <-chan work.Hint { return h.hints }

func (h *home) failing(call string, parts int) error {
	if h.fail == nil {
		return nil
	}
	return h.fail(call, parts)
}

func (h *home) Start(_ context.Context, parts []wire.PartRef) (vs []wire.PartVerdict, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing("start", len(parts)); err != nil {
		return nil, err
	}
	for _, ref := range parts {
		v := wire.PartVerdict{PartRef: ref}
		if _, ok := h.assigned[ref]; !ok {
			v.Code, v.Message = wire.CodeConflict, "stale"
		}
		h.started[ref]++
		vs = append(vs, v)
	}
	return vs, nil
}

func (h *home) Finish(_ context.Context, parts []wire.PartDone) (vs []wire.PartVerdict, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing("finish", len(parts)); err != nil {
		return nil, err
	}
	h.batches = append(h.batches, len(parts))
	for _, d := range parts {
		v := wire.PartVerdict{PartRef: d.PartRef}
		_, reported := h.done[d.PartRef]
		_, ours := h.assigned[d.PartRef]
		switch {
		case ours:
			delete(h.assigned, d.PartRef)
			h.done[d.PartRef] = d
		case !reported:
			v.Code, v.Message = wire.CodeConflict, "stale"
		}
		vs = append(vs, v)
	}
	return vs, nil
}

func (h *home) AppendLog(_ context.Context, l wire.AppendLog) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.failing("log", 1); err != nil {
		return err
	}
	switch have := int64(len(h.logs[l.PartRef])); {
	case l.Offset > have && have < wire.LogHead:
		return fmt.Errorf("a gap in the log: have %d, got offset %d", have, l.Offset)
	case l.Offset > have: // it was left out
		h.logs[l.PartRef] = append(h.logs[l.PartRef], make([]byte, l.Offset-have)...)
	}
	h.logs[l.PartRef] = append(h.logs[l.PartRef][:l.Offset], l.Data...)
	return nil
}

func (h *home) Sync(_ context.Context, holding []wire.PartRef) (wire.SyncedParts, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.syncs++
	if err := h.failing("sync", len(holding)); err != nil {
		return wire.SyncedParts{}, err
	}
	var out wire.SyncedParts
	for ref, run := range h.assigned {
		if !slices.Contains(holding, ref) {
			out.Run = append(out.Run, run)
		}
	}
	for _, ref := range holding {
		if _, ok := h.assigned[ref]; !ok {
			out.Cancel = append(out.Cancel, ref)
		}
	}
	return out, nil
}

// with changes or reads the home under its lock.
func (h *home) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// assign gives parts, without any hint.
func (h *home) assign(parts ...wire.RunPart) {
	h.with(func() {
		for _, p := range parts {
			h.assigned[p.PartRef] = p
		}
	})
}

// result waits for the report of a part.
func (h *home) result(t *testing.T, p wire.RunPart) (d wire.PartDone) {
	t.Helper()
	eventually(t, fmt.Sprintf("part %d reported", p.Part), func() (ok bool) {
		h.with(func() { d, ok = h.done[p.PartRef] })
		return ok
	})
	return d
}

func (h *home) log(p wire.RunPart) (s string) {
	h.with(func() { s = string(h.logs[p.PartRef]) })
	return s
}

// eventually polls a real condition, since real processes keep no fake time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		case <-tick.C:
		}
	}
}

// open starts a worker at a home, which is closed with the test; all it leaves
// behind is an error.
func open(t *testing.T, h *home, options ...func(*work.Config)) *work.Worker {
	t.Helper()
	dir := t.TempDir()
	cfg := work.Config{
		Slots: 4, Runtimes: offered(), Dir: dir, SyncEvery: 50 * time.Millisecond, StartDelay: 20 * time.Millisecond,
		KillDelay: 200 * time.Millisecond, LogEvery: 20 * time.Millisecond,
	}
	for _, o := range options {
		o(&cfg)
	}
	w, err := work.Open(h, cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("files left behind: %v", left)
		}
	})
	return w
}

func python(t *testing.T, n int, item, script string) wire.RunPart {
	t.Helper()
	if !slices.Contains(work.Names(offered()), "python3") {
		t.Skip("SKIPPED: there is no python3 here, nothing of it is tested")
	}
	return part(n, "python3", item, script)
}

func shell(n int, item, script string) wire.RunPart { return part(n, "sh", item, script) }

func part(n int, runtime, item, script string) wire.RunPart {
	return wire.RunPart{
		PartRef: wire.PartRef{Job: "job", Part: n, Attempt: 1}, Runtime: runtime, Script: script,
		Item: json.RawMessage(item), PartTimeout: wire.Duration(time.Minute),
	}
}

// alive says whether a process runs (a zombie does not).
func alive(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
	return !strings.HasPrefix(rest, " Z") && !strings.HasPrefix(rest, " X")
}

// readPID waits until a script has written a process id.
func readPID(t *testing.T, file string) (pid string) {
	t.Helper()
	eventually(t, "a process id in "+file, func() bool {
		b, _ := os.ReadFile(file)
		pid = strings.TrimSpace(string(b))
		return strings.HasSuffix(string(b), "\n") && pid != ""
	})
	return pid
}
