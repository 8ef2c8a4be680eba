package work_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/jobs/work"
)

// processes is a part that shares its work among processes, by the start method
// that is its item, and through a manager, which listens on a socket in TMPDIR.
const processes = `
import concurrent.futures
import multiprocessing


class Point:
    def __init__(self, x):
        self.x = x


def square(p):
    return Point(p.x * p.x)


def note(seen, x):
    seen.append(x)


def part(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        sums = [sum(p.x for p in pool.map(square, map(Point, range(5))))]
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        sums.append(pool.submit(square, Point(6)).result().x)
    with context.Manager() as manager:
        seen = manager.list()
        child = context.Process(target=note, args=(seen, method))
        child.start()
        child.join()
        sums.append(list(seen))
    return sums
`

// A part may use the processes of multiprocessing, whatever the way they are
// started and however deep the worker's directory lies.
func TestPartUsesProcesses(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("deep/", 20))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "tmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the worker's end
		if err := os.Remove(short); err != nil {
			t.Errorf("left behind in TMPDIR: %v", err)
		}
	})
	t.Setenv("TMPDIR", short)
	h := newHome()
	for n, method := range []string{"spawn", "forkserver", "fork"} {
		h.assign(python(t, n, `"`+method+`"`, processes))
	}
	open(t, h, func(c *work.Config) { c.Dir, c.Slots = deep, 2 })
	for n, method := range []string{"spawn", "forkserver", "fork"} {
		d := h.result(t, python(t, n, "", ""))
		if want := `[30,36,["` + method + `"]]`; string(d.Result) != want {
			t.Errorf("%s: result %s, error %s; want %s", method, d.Result, d.Error, want)
		}
	}
}

// A process that a part forked by itself and that comes back from part is not
// the part: it says nothing in its name.
func TestForkedProcessIsNotThePart(t *testing.T) {
	h := newHome()
	p := python(t, 0, "1", `
import os, sys
def part(item):
    if os.fork() == 0:
        if os.fork() == 0:
            sys.exit(7)
        print("child", os.WEXITSTATUS(os.wait()[1]))
        return "not the part's"
    return [item, os.WEXITSTATUS(os.wait()[1])]
`)
	h.assign(p)
	open(t, h)
	if d := h.result(t, p); string(d.Result) != "[1,0]" {
		t.Errorf("result %s, error %s; want [1,0]", d.Result, d.Error)
	}
	eventually(t, "the child's output", func() bool { return h.log(p) == "child 7\n" })
}
