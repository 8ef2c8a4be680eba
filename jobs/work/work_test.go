package work_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// waiting is a script that writes its id and runs until the file stop exists.
func waiting(n int, dir string) wire.RunPart {
	return shell(n, `0`, `echo $$ > '`+filepath.Join(dir, "pid")+`'; while [ ! -e '`+filepath.Join(dir, "stop")+`' ]; do sleep 0.01; done`)
}

// Not one process of a part outlives its worker: not the script, not what it
// forked into the background.
func TestCloseLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	h := newHome()
	p := shell(0, `0`, `(trap '' TERM HUP; echo $$ > '`+dir+`/ignored'; sh -c 'echo $$ > "`+dir+`/grandchild"; exec sleep 300') &
echo $$ > '`+dir+`/pid'; wait`)
	h.assign(p)
	w := open(t, h)
	leader, grandchild := readPID(t, dir+"/pid"), readPID(t, dir+"/grandchild")
	if !alive(leader) || !alive(grandchild) {
		t.Fatalf("before Close: script alive %v, grandchild alive %v; want both", alive(leader), alive(grandchild))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if alive(leader) || alive(grandchild) {
		t.Errorf("after Close: script alive %v, grandchild alive %v; want neither", alive(leader), alive(grandchild))
	}
	if _, reported := h.done[p.PartRef]; reported {
		t.Error("a part ended by Close is reported, want silence: it belongs to the next worker")
	}
}

// What a finished script left in the background is ended with it, though it
// holds the script's output open.
func TestBackgroundEndsWithTheScript(t *testing.T) {
	dir := t.TempDir()
	h := newHome()
	p := shell(0, `0`, `sleep 300 & echo $! > '`+dir+`/pid'; echo 5`)
	h.assign(p)
	open(t, h)
	if d := h.result(t, p); string(d.Result) != "5" {
		t.Errorf("result %s (%s), want 5", d.Result, d.Error)
	}
	pid := readPID(t, dir+"/pid")
	eventually(t, "the background process is gone", func() bool { return !alive(pid) })
}

// One that left the group cannot be ended by it, but does not hold up the part.
func TestLeaverOfTheGroupHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	h := newHome()
	p := python(t, 0, `0`, `
import os, subprocess, time
def part(item):
    c = subprocess.Popen(["sh", "-c", "while [ ! -e '`+dir+`/stop' ]; do sleep 0.02; done"], start_new_session=True)
    with open("`+dir+`/pid", "w") as f: print(c.pid, file=f)
    return 1`)
	h.assign(p)
	open(t, h)
	if d := h.result(t, p); string(d.Result) != "1" {
		t.Errorf("result %s (%s), want 1", d.Result, d.Error)
	}
	pid := readPID(t, dir+"/pid")
	touch(t, dir+"/stop")
	eventually(t, "the test's own process ends", func() bool { return !alive(pid) })
}

// A cancelled part is ended and not reported; its slot is free again.
func TestCancel(t *testing.T) {
	for _, how := range []string{"by hint", "by sync", "by a refused start"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			h := newHome()
			p := waiting(0, dir)
			h.assign(p)
			w := open(t, h, func(c *work.Config) {
				c.Slots = 1
				if how == "by a refused start" {
					c.StartDelay = time.Second
				}
			})
			pid := readPID(t, dir+"/pid")
			if how == "by a refused start" {
				h.with(func() {
					h.fail = func(call string, _ int) error {
						if call == "sync" {
							return errors.New("not now")
						}
						return nil
					}
				})
			}
			if how != "by hint" {
				h.with(func() { delete(h.assigned, p.PartRef) })
			} else {
				h.hints <- work.Hint{Cancel: []wire.PartRef{p.PartRef}}
				h.with(func() { delete(h.assigned, p.PartRef) })
			}
			eventually(t, "the process is gone", func() bool { return !alive(pid) })
			next := shell(1, `0`, "echo 1")
			h.assign(next)
			h.hints <- work.Hint{Run: []wire.RunPart{next}}
			h.result(t, next)
			h.with(func() {
				if _, reported := h.done[p.PartRef]; reported {
					t.Error("the cancelled part is reported")
				}
			})
			eventually(t, "one part dropped, none held", func() bool { s := w.Stats(); return s.Dropped == 1 && s.Held == 0 })
		})
	}
}

// Not one hint arrives, calls fail in every way; all work is done once.
func TestLostHintsAndFailingCalls(t *testing.T) {
	h := newHome()
	calls := map[string]int{}
	h.fail = func(call string, _ int) error {
		calls[call]++
		switch calls[call] % 4 {
		case 1:
			return wire.NotTried("no leader")
		case 2:
			return wire.Unknown(errors.New("link lost"))
		case 3:
			return errors.New("a fault")
		}
		return nil
	}
	var parts []wire.RunPart
	for n := range 20 {
		parts = append(parts, shell(n, `0`, `echo "$FOLKMOOT_PART"`))
	}
	h.assign(parts...)
	w := open(t, h)
	for n, p := range parts {
		if d := h.result(t, p); string(d.Result) != strconv.Itoa(n) {
			t.Errorf("part %d: result %s, want its own number", n, d.Result)
		}
	}
	eventually(t, "20 done, none held", func() bool { s := w.Stats(); return s.Done == 20 && s.Held == 0 })
}

// At most Slots processes run, and what ended meanwhile is reported together.
func TestSlotsAndBatches(t *testing.T) {
	dir := t.TempDir()
	h := newHome()
	block := make(chan struct{})
	h.fail = func(call string, _ int) error {
		if call == "finish" {
			select {
			case <-block:
			default:
				return wire.NotTried("no leader")
			}
		}
		return nil
	}
	var parts []wire.RunPart
	for n := range 12 {
		parts = append(parts, shell(n, `0`, `mkdir '`+dir+`/'$$; ls '`+dir+`' | wc -l; sleep 0.05; rmdir '`+dir+`/'$$`))
	}
	h.assign(parts...)
	w := open(t, h, func(c *work.Config) { c.Slots = 3 })
	eventually(t, "all have run, none is accepted", func() bool { s := w.Stats(); return s.Running == 0 && s.Held == 12 })
	close(block)
	for _, p := range parts {
		if d := h.result(t, p); len(d.Result) != 1 || d.Result[0] < '1' || d.Result[0] > '3' {
			t.Errorf("%s processes at once (%s), want 1 to 3", d.Result, d.Error)
		}
	}
	h.with(func() {
		if len(h.batches) > 2 {
			t.Errorf("12 waiting reports went in batches of %v, want few batches", h.batches)
		}
	})
}

// One report that is refused for itself does not hold up the others, and
// becomes a failure.
func TestSpoiledBatch(t *testing.T) {
	h := newHome()
	ready := false
	h.fail = func(call string, parts int) error {
		if call != "finish" {
			return nil
		}
		if !ready {
			return wire.NotTried("no leader")
		}
		if parts > 1 {
			return wire.Refuse(wire.CodeTooLarge, "too large together")
		}
		return nil
	}
	var parts []wire.RunPart
	for n := range 4 {
		parts = append(parts, shell(n, `0`, "echo 1"))
	}
	h.assign(parts...)
	w := open(t, h)
	eventually(t, "all have run", func() bool { s := w.Stats(); return s.Running == 0 && s.Held == 4 })
	h.with(func() { ready = true })
	for _, p := range parts {
		h.result(t, p)
	}
}

// A start is reported for a part that takes its time, and not for one that is over.
func TestStartIsTold(t *testing.T) {
	dir := t.TempDir()
	h := newHome()
	long, short := waiting(0, dir), shell(1, `0`, ":")
	h.assign(long, short)
	open(t, h, func(c *work.Config) { c.StartDelay = 300 * time.Millisecond })
	h.result(t, short)
	eventually(t, "the start of the long one is reported", func() (ok bool) {
		h.with(func() { ok = h.started[long.PartRef] == 1 })
		return ok
	})
	touch(t, filepath.Join(dir, "stop"))
	h.result(t, long)
	h.with(func() {
		if h.started[short.PartRef] != 0 || h.started[long.PartRef] != 1 {
			t.Errorf("starts reported: short %d, long %d; want 0 and 1", h.started[short.PartRef], h.started[long.PartRef])
		}
	})
}

// A later attempt ends the earlier one; a hint that comes late runs nothing
// again.
func TestAttempts(t *testing.T) {
	dir := t.TempDir()
	h := newHome()
	first := waiting(0, dir)
	h.assign(first)
	open(t, h)
	pid := readPID(t, dir+"/pid")
	second := shell(0, `0`, `echo x >> '`+dir+`/ran'; echo 2`)
	second.Attempt = 2
	h.with(func() { delete(h.assigned, first.PartRef) })
	h.assign(second)
	h.hints <- work.Hint{Run: []wire.RunPart{second}}
	if d := h.result(t, second); string(d.Result) != "2" {
		t.Errorf("result %s (%s), want that of attempt 2", d.Result, d.Error)
	}
	eventually(t, "attempt 1 is gone", func() bool { return !alive(pid) })
	marker := shell(1, `0`, ":")
	h.assign(marker)
	h.hints <- work.Hint{Run: []wire.RunPart{second, marker}}
	h.result(t, marker)
	if b, _ := os.ReadFile(dir + "/ran"); string(b) != "x\n" {
		t.Errorf("attempt 2 ran %d times, want once", len(b)/2)
	}
}

// A result that was ready at Close is reported before it returns.
func TestCloseReportsWhatIsFinished(t *testing.T) {
	h := newHome()
	closing := false
	h.fail = func(call string, _ int) error {
		if call == "finish" && !closing {
			return wire.NotTried("no leader")
		}
		return nil
	}
	p := shell(0, `0`, "echo 9")
	h.assign(p)
	w := open(t, h)
	eventually(t, "the part has run", func() bool { s := w.Stats(); return s.Held == 1 && s.Running == 0 })
	h.with(func() { closing = true })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if d := h.done[p.PartRef]; string(d.Result) != "9" {
		t.Errorf("after Close the home has result %q, want 9", d.Result)
	}
}

// A closed channel of hints is not a busy loop.
func TestClosedHints(t *testing.T) {
	h := newHome()
	close(h.hints)
	p := shell(0, `0`, "echo 1")
	h.assign(p)
	open(t, h)
	h.result(t, p)
}
