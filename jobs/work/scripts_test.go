package work_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/jobs/work"
	"github.com/folkmoot/folkmoot/wire"
)

// What a script is given, and what counts as its result or its failure.
func TestScripts(t *testing.T) {
	t.Setenv("FOLKMOOT_TEST_SECRET", "do not tell")
	args := json.RawMessage(`{"k":[1,2]}`)
	large := `"` + strings.Repeat("y", 70_000) + `"`
	nest := "def part(item):\n    x = []\n    for _ in range(item - 1):\n        x = [x]\n    return x"
	for name, c := range map[string]struct {
		part   wire.RunPart
		result string
		fails  []string // all of these are in the error
		log    string
		logs   []string // all of these are in the log
	}{
		"python: one argument":   {part: python(t, 0, `3`, "def part(item): return item * 2"), result: `6`},
		"python: with args":      {part: python(t, 0, `1`, "def part(item, args): return args['k'][item]"), result: `2`},
		"python: prints are log": {part: python(t, 0, `1`, "import sys\nprint('+666')\ndef part(item):\n  print('-x', file=sys.stderr); return None"), result: `null`, log: "+666\n-x\n"},
		"python: prints through os": {
			part:   python(t, 0, `1`, "import os\ndef part(item):\n  os.system('echo hello'); return 'a<b\u00e9'"),
			result: `"a\u003cbé"`, log: "hello\n",
		},
		"python: exception": {
			part:  python(t, 0, `0`, "def inner(x):\n    return 1 / x\ndef part(item):\n    return inner(item)"),
			fails: []string{"Traceback", "line 2, in inner", "return 1 / x", "ZeroDivisionError: division by zero"},
			logs:  []string{"Traceback", "line 2, in inner", "ZeroDivisionError: division by zero\n"},
		},
		"python: KeyError": {part: python(t, 0, `0`, "def part(item):\n    return {}['missing']"), fails: []string{"Traceback", "KeyError: 'missing'"}},
		"python: long message": {
			part:  python(t, 0, `0`, "def part(item):\n    raise ValueError('begin' + 'x' * 100_000 + 'end')"),
			fails: []string{"Traceback", "line 2, in part", "\nValueError: beginxxx", "xxxend"},
		},
		"python: long message of several lines": {
			part:  python(t, 0, `0`, "class Odd(Exception): pass\ndef part(item):\n    raise Odd('begin\\n' + 'line\\n' * 10_000 + 'end')"),
			fails: []string{"Traceback", "line 3, in part", "\nscript.Odd: begin\nline", "line\nend\n", "\nscript.Odd: begin"},
		},
		"python: long message beyond ASCII": {
			part:  python(t, 0, `0`, "def part(item):\n    raise OSError(5, '界' * 10_000 + 'end')"),
			fails: []string{"Traceback", "line 2, in part", "\nOSError: [Errno 5] 界", "界end"},
		},
		"python: long cause": {
			part:  python(t, 0, `0`, "def part(item):\n    try:\n        1 / 0\n    except ArithmeticError as e:\n        raise OSError('x' * 100_000) from e"),
			fails: []string{"\nOSError: xxx"},
		},
		"python: notes": {
			part:  python(t, 0, `0`, "def part(item):\n    e = ValueError('short'); e.__notes__ = ['a note']; raise e"),
			fails: []string{"\nValueError: short"},
		},
		"python: group": {
			part:  python(t, 0, `0`, "def part(item):\n    raise ExceptionGroup('several', [ValueError(1), TypeError(2)])"),
			fails: []string{"ValueError: 1", "TypeError: 2", "\nExceptionGroup: several (2 sub-exceptions)"},
		},
		"python: no message": {
			part:  python(t, 0, `0`, "class Odd(Exception):\n  def __str__(self): return 1/0\ndef part(item):\n    raise Odd"),
			fails: []string{"\nscript.Odd: <exception str() failed>"},
		},
		"python: syntax":         {part: python(t, 0, `0`, "def part(item)\n  pass"), fails: []string{"SyntaxError", "line 1"}},
		"python: no part":        {part: python(t, 0, `0`, "x = 1"), fails: []string{"defines no function part(item)"}},
		"python: exit":           {part: python(t, 0, `0`, "import sys\ndef part(item): sys.exit(3)"), fails: []string{"the script called exit(3)"}},
		"python: killed":         {part: python(t, 0, `0`, "import os\ndef part(item):\n  print('last words'); os.kill(os.getpid(), 9)"), fails: []string{"without a result", "signal: killed", "last words"}},
		"python: not JSON":       {part: python(t, 0, `0`, "def part(item): return {1, 2}"), fails: []string{"the result is not JSON", "set"}},
		"python: NaN":            {part: python(t, 0, `0`, "def part(item): return float('nan')"), fails: []string{"the result is not JSON"}},
		"python: too large":      {part: python(t, 0, `0`, "def part(item): return 'x' * 70000"), fails: []string{"the result is", "the limit is 65536: store it where others can read it"}},
		"python: huge":           {part: python(t, 0, `0`, "def part(item): return 'x' * 5000000"), fails: []string{"the result is", "the limit is 65536"}},
		"python: deep recursion": {part: python(t, 0, `0`, "def part(item): return part(item)"), fails: []string{"RecursionError"}},
		"python: nested":         {part: python(t, 0, `60`, nest), result: strings.Repeat("[", 60) + strings.Repeat("]", 60)},
		"python: too nested":     {part: python(t, 0, `61`, nest), fails: []string{"the result is nested 61 deep; the limit is 60"}},
		"python: much nested":    {part: python(t, 0, `5000`, nest), fails: []string{"the result is nested too deep; the limit is 60"}},
		"sh: too nested":         {part: shell(0, strings.Repeat("[", 61)+strings.Repeat("]", 61), "cat"), fails: []string{"the result is nested 61 deep; the limit is 60"}},
		"python: async":          {part: python(t, 0, `4`, "async def part(item): return item"), result: `4`},
		"python: dataclass":      {part: python(t, 0, `4`, "import dataclasses\n@dataclasses.dataclass\nclass C:\n  x: int\ndef part(item): return dataclasses.asdict(C(item))"), result: `{"x":4}`},
		"python: no main":        {part: python(t, 0, `4`, "if __name__ == '__main__': 1/0\ndef part(item): return 1"), result: `1`},
		"python: environment":    {part: python(t, 7, `0`, "import os\ndef part(item): return [os.environ.get('FOLKMOOT_TEST_SECRET'), os.environ['FOLKMOOT_PART'], os.getcwd() == os.environ['HOME']]"), result: `[null,"7",true]`},
		"python: a surrogate":    {part: python(t, 0, `0`, "def part(item): return '\\ud800'"), result: `"\ud800"`},
		"sh: item on stdin":      {part: shell(0, `{"a": 1}`, "cat"), result: `{"a":1}`},
		"sh: item in $ITEM":      {part: shell(0, `5`, `echo $((ITEM + 1)); echo noise >&2`), result: `6`, log: "noise\n"},
		"sh: text in $ITEM":      {part: shell(0, `"two words; exit 1"`, `printf '%s' "$ITEM"`), result: `"two words; exit 1"`},
		"sh: args":               {part: shell(0, `0`, `echo "$ARGS"; cmp -s "$ARGS_FILE" - <<E || true`+"\nE\n"), result: `{"k":[1,2]}`},
		"sh: a string":           {part: shell(0, `0`, `echo not json`), result: `"not json"`},
		"sh: bytes":              {part: shell(0, `0`, `printf 'caf\351\n'`), fails: []string{"byte 4", "0xE9", "not UTF-8", "base64"}},
		"sh: bytes in JSON":      {part: shell(0, `0`, `printf '"\377"'`), fails: []string{"byte 2", "0xFF", "not UTF-8", "base64"}},
		"sh: text beyond ASCII":  {part: shell(0, `0`, `printf 'caf\303\251 \357\277\275'`), result: "\"café \uFFFD\""},
		"sh: nothing":            {part: shell(0, `0`, `:`), result: `null`},
		"sh: exit status":        {part: shell(0, `0`, "echo because >&2\nexit 3"), fails: []string{"exit status 3", "because"}, log: "because\nthe script ended with exit status 3\n"},
		"sh: exit status after much output": {
			part:  shell(0, `0`, "head -c 3500 /dev/zero | tr '\\0' x >&2; echo last >&2; exit 3"),
			fails: []string{"the script ended with exit status 3\n", "xxxlast"},
		},
		"python: killed after much output": {
			part:  python(t, 0, `0`, "import os\ndef part(item):\n  print('x' * 3500); print('last words'); os.kill(os.getpid(), 9)"),
			fails: []string{"without a result: signal: killed\n", "last words"},
		},
		"sh: too large":            {part: shell(0, `0`, `head -c 70000 /dev/zero | tr '\0' x`), fails: []string{"the result is larger", "65536"}},
		"sh: environment":          {part: shell(7, `0`, `echo "$FOLKMOOT_TEST_SECRET/$FOLKMOOT_JOB/$FOLKMOOT_PART/$FOLKMOOT_ATTEMPT"`), result: `"/job/7/1"`},
		"sh: item in $ITEM_FILE":   {part: shell(0, `"two words"`, `cat "$ITEM_FILE"`), result: `"two words"`},
		"sh: large item":           {part: shell(0, large, `echo "${ITEMS-unset}"; wc -c; wc -c < "$ITEM_FILE"`), result: `"unset\n70002\n70002"`},
		"sh: large item in $ITEM":  {part: shell(0, large, `printf %s "$ITEM" | wc -c`), fails: []string{"70000 bytes", "$ITEM", "65536", "$ITEM_FILE"}},
		"sh: large item in python": {part: shell(0, large, `python3 -c 'import os; print(len(os.environ.get("ITEM", "")))'`), fails: []string{"$ITEM_FILE"}},
		"sh: first line":           {part: shell(0, `0`, "#!/usr/bin/env python3\nimport sys, os\nprint([sys.stdin.read(), os.environ['ITEM'], 3 // 2 * 1.5])"), result: `"['0', '0', 1.5]"`},
		"sh: first line, argument": {part: shell(0, `0`, "#!/bin/sh -eu\nfalse\necho on"), fails: []string{"exit status 1"}},
		"sh: first line, CRLF":     {part: shell(0, `0`, "#!/bin/sh\r\necho 1"), result: `1`},
		"sh: first line, unknown":  {part: shell(0, `0`, "#!/no/such/zsh\necho 1"), fails: []string{"/no/such/zsh, which this worker has not"}},
		"unknown runtime":          {part: part(0, "perl", `0`, "1"), fails: []string{`runtime "perl" is not offered`}},
		"timeout":                  {part: timeout(shell(0, `0`, "sleep 60"), 100*time.Millisecond), fails: []string{"timed out", "part_timeout of 100ms"}},
		"timeout, SIGTERM unheard": {part: timeout(shell(0, `0`, "trap '' TERM\nsleep 60\nsleep 60"), 100*time.Millisecond), fails: []string{"timed out"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome()
			c.part.Args = args
			h.assign(c.part)
			w := open(t, h)
			d := h.result(t, c.part)
			if d.OK != (c.fails == nil) || string(d.Result) != c.result {
				t.Errorf("ok %v, result %.200s, error %q; want result %.200s", d.OK, d.Result, d.Error, c.result)
			}
			if last := lastLine(d.Error); strings.Contains(d.Error, "Traceback") && !strings.Contains(last, "E") && !strings.Contains(last, "Odd") {
				t.Errorf("the last line, which is the job's reason, does not say what kind of error it was: %s", last)
			}
			if len(d.Error) > 4096 {
				t.Errorf("the error has %d bytes: the rest of it is lost", len(d.Error))
			}
			for _, want := range c.fails {
				if !strings.Contains(d.Error, want) {
					t.Errorf("the error does not say %q:\n%s", want, d.Error)
				}
			}
			if strings.Contains(d.Error, "folkmoot_runner") {
				t.Errorf("the error shows the runner's own frames:\n%s", d.Error)
			}
			eventually(t, fmt.Sprintf("log %q, have %q", c.log, h.log(c.part)), func() bool {
				return c.log == "" || h.log(c.part) == c.log
			})
			for _, want := range c.logs {
				eventually(t, fmt.Sprintf("%q in the log", want), func() bool { return strings.Contains(h.log(c.part), want) })
			}
			eventually(t, "no part is held", func() bool { return w.Stats().Held == 0 })
		})
	}
}

func lastLine(s string) string { return s[strings.LastIndexByte(strings.TrimSpace(s), '\n')+1:] }

// Args that no variable holds: the same as with an item.
func TestLargeArgs(t *testing.T) {
	h := newHome()
	ignores, uses := shell(0, `1`, `wc -c < "$ARGS_FILE"`), shell(1, `1`, `printf '%s' "${ARGS}"`)
	for _, p := range []*wire.RunPart{&ignores, &uses} {
		p.Args = json.RawMessage(`"` + strings.Repeat("y", 70_000) + `"`)
		h.assign(*p)
	}
	open(t, h)
	if d := h.result(t, ignores); string(d.Result) != "70002" {
		t.Errorf("result %s, error %q; want 70002", d.Result, d.Error)
	}
	if d := h.result(t, uses); d.OK || !strings.Contains(d.Error, "$ARGS_FILE") {
		t.Errorf("result %.40s, error %q; want a failure that names $ARGS_FILE", d.Result, d.Error)
	}
}

func timeout(p wire.RunPart, d time.Duration) wire.RunPart {
	p.PartTimeout = wire.Duration(d)
	return p
}

// Of much output the first 256 KiB and the last 768 KiB get home, at their
// places, also when the home takes nothing for a while; the script is not held
// up.
func TestLogKeepsItsBeginningAndItsEnd(t *testing.T) {
	var whole strings.Builder
	for i := range 500_000 {
		fmt.Fprintln(&whole, i+1)
	}
	want := whole.String()
	for _, silent := range []bool{false, true} {
		h := newHome()
		var ended atomic.Bool
		h.fail = func(call string, _ int) error {
			if call == "log" && silent && !ended.Load() {
				return wire.NotTried("no leader")
			}
			return nil
		}
		p := shell(0, `0`, `seq 500000 >&2; echo 1`)
		h.assign(p)
		open(t, h)
		if d := h.result(t, p); string(d.Result) != "1" {
			t.Fatalf("result %s (%s), want 1", d.Result, d.Error)
		}
		ended.Store(true)
		eventually(t, "the end of the log", func() bool { return len(h.log(p)) == len(want) })
		got := h.log(p)
		if got[:256<<10] != want[:256<<10] {
			t.Errorf("home silent %t: the first 256 KiB are not what was written first", silent)
		}
		if last := len(want) - 768<<10; got[last:] != want[last:] {
			t.Errorf("home silent %t: the last 768 KiB are not what was written last", silent)
		}
	}
	h := newHome()
	short := shell(1, `0`, `head -c 1000000 /dev/zero | tr '\0' x >&2; echo last >&2; echo 1`)
	h.assign(short)
	open(t, h)
	h.result(t, short)
	eventually(t, "a log below 1 MiB to be whole", func() bool {
		return h.log(short) == strings.Repeat("x", 1_000_000)+"last\n"
	})
}

// Output comes while the part runs, and twice is once after a lost answer.
func TestLogIsLive(t *testing.T) {
	h := newHome()
	fails := 3
	h.fail = func(call string, _ int) error {
		if call == "log" && fails > 0 {
			fails--
			return wire.NotTried("no leader")
		}
		return nil
	}
	stop := filepath.Join(t.TempDir(), "stop")
	p := shell(0, `0`, `echo one >&2; while [ ! -e '`+stop+`' ]; do sleep 0.01; done; echo two >&2`)
	h.assign(p)
	open(t, h)
	eventually(t, "the first line, while the part runs", func() bool { return h.log(p) == "one\n" })
	touch(t, stop)
	h.result(t, p)
	eventually(t, "the whole log", func() bool { return h.log(p) == "one\ntwo\n" })
}

// Only what works is offered, and of the others the reason is given.
func TestOffered(t *testing.T) {
	got, err := work.Offered([]string{"sh", "cobol"})
	if strings.Join(work.Names(got), " ") != "sh" || err == nil || !strings.Contains(err.Error(), "cobol: there are python3 and sh") {
		t.Errorf("offered %v, %v; want sh alone, and why not cobol", work.Names(got), err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if got, err := work.Offered(nil); len(got) != 0 || err == nil || !strings.Contains(err.Error(), "python3: not found on the PATH \""+dir) || !strings.Contains(err.Error(), "; sh: not found") {
		t.Errorf("offered %v, %v with nothing on the path, want nothing, and the path", got, err)
	}
	for script, why := range map[string]string{
		"#!/bin/sh\necho >&2 Traceback; echo >&2 \"ImportError: no module json\"; exit 3\n": "exit status 3: ImportError: no module json",
		"#!/bin/sh\necho python3\n": `it does not tell where it is, but "python3"`,
		"#!/no/such/interpreter\n":  "python3: fork/exec",
	} {
		if err := os.WriteFile(filepath.Join(dir, "python3"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		if got, err := work.Offered([]string{"python3"}); len(got) != 0 || err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q as python3: offered %v, %v; want nothing, and %q", script, got, err, why)
		}
	}
	if _, err := work.Open(newHome(), work.Config{}); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("open without runtimes: %v, want invalid", err)
	}
}

// A directory given relative to where the worker was started is good enough:
// scripts run elsewhere, but are found.
func TestRelativeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("work", 0o700); err != nil {
		t.Fatal(err)
	}
	h := newHome()
	open(t, h, func(c *work.Config) { c.Dir = "work" })
	for _, p := range []wire.RunPart{shell(0, "3", "echo $((ITEM * ITEM))"), python(t, 1, "3", "def part(item):\n    return item * item\n")} {
		h.assign(p)
		if d := h.result(t, p); !d.OK || string(d.Result) != "9" {
			t.Errorf("%s in a relative directory: ok %t, result %s, error %s; want 9", p.Runtime, d.OK, d.Result, d.Error)
		}
	}
}
