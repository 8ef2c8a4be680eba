package work

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

//go:embed runner.py
var runner []byte

// Runtime is one way of running scripts that was found to work here.
type Runtime struct {
	Name string // as a job asks for it
	Path string // of the interpreter
}

// probes are what each runtime runs to print where its interpreter is.
var probes = map[string]string{
	"python3": "import sys, json; print(sys.executable)",
	"sh":      "command -v sh",
}

// probeTime is how long an interpreter may take to start.
const probeTime = 10 * time.Second

// Offered returns those of the named runtimes that work on this machine, and an
// error that says of each of the others why it does not; an empty list of names
// means all that are known. It runs each interpreter once and takes at most 10 s
// for each.
func Offered(names []string) (found []Runtime, missing error) {
	if len(names) == 0 {
		names = []string{"python3", "sh"}
	}
	var why []string
	for _, name := range names {
		r, err := probe(name)
		if err != nil {
			why = append(why, err.Error())
			continue
		}
		found = append(found, r)
	}
	if len(why) > 0 {
		missing = errors.New(strings.Join(why, "; "))
	}
	return found, missing
}

// probe finds out whether a runtime works here.
func probe(name string) (Runtime, error) {
	script, known := probes[name]
	if !known {
		return Runtime{}, fmt.Errorf("%s: there are python3 and sh", name)
	}
	if _, err := exec.LookPath(name); err != nil {
		return Runtime{}, fmt.Errorf("%s: not found on the PATH %q", name, os.Getenv("PATH"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, "-c", script)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	path := strings.TrimSpace(string(out))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Runtime{}, fmt.Errorf("%s: it did not start within %v", name, probeTime)
	case errors.As(err, &exit):
		said := strings.ToValidUTF8(strings.TrimSpace(string(exit.Stderr)), "")
		return Runtime{}, fmt.Errorf("%s: %q ended with %v: %s", name, script, err, said[strings.LastIndexByte(said, '\n')+1:])
	case err != nil:
		return Runtime{}, fmt.Errorf("%s: %w", name, err)
	case !filepath.IsAbs(path): // the interpreter itself is wanted, not a wrapper that chooses one each time
		return Runtime{}, fmt.Errorf("%s: it does not tell where it is, but %.80q", name, path)
	}
	return Runtime{Name: name, Path: path}, nil
}

// Names returns the names of runtimes, for a sign-in.
func Names(runtimes []Runtime) []string {
	names := make([]string, len(runtimes))
	for i, r := range runtimes {
		names[i] = r.Name
	}
	return names
}

// maxEnv bounds a value in the environment; the kernel takes 128 KiB a string.
// The same is always in a file.
const maxEnv = 64 << 10

// prepare writes what the part needs into dir and returns the command that
// runs it, with its input but without outputs. tmp is a way to dir for TMPDIR.
func (r Runtime) prepare(dir, tmp string, p wire.RunPart) (*exec.Cmd, *os.File, error) {
	args := p.Args
	if len(args) == 0 {
		args = json.RawMessage("null")
	}
	item := p.Item
	if len(item) == 0 {
		item = json.RawMessage("null")
	}
	var script, in string
	input := item
	env := environment(dir, tmp, p)
	var argv []string
	interpreter := []string{r.Path}
	if r.Name == "python3" {
		script, in = filepath.Join(dir, "script.py"), filepath.Join(dir, "input.json")
		run := filepath.Join(dir, "folkmoot_runner.py")
		if err := os.WriteFile(run, runner, 0o600); err != nil {
			return nil, nil, err
		}
		var err error
		if input, err = json.Marshal(map[string]any{"script": script, "item": item, "args": args}); err != nil {
			return nil, nil, fmt.Errorf("item or args: %w", err)
		}
		argv = []string{"-B", run}
		env = append(env, "PYTHONUNBUFFERED=1", "PYTHONIOENCODING=utf-8")
	} else {
		script, in = filepath.Join(dir, "script.sh"), filepath.Join(dir, "item.json")
		argsFile := filepath.Join(dir, "args.json")
		if err := os.WriteFile(argsFile, args, 0o600); err != nil {
			return nil, nil, err
		}
		if interpreter = interpreterOf(p.Script); len(interpreter) > 0 {
			if _, err := os.Stat(interpreter[0]); err != nil {
				return nil, nil, fmt.Errorf("the script's first line asks for %s, which this worker has not: %w", interpreter[0], err)
			}
		} else {
			interpreter = []string{r.Path}
		}
		argv = append(interpreter[1:], script)
		env = append(env, "ITEM_FILE="+in, "ARGS_FILE="+argsFile)
		for _, v := range []variable{{"ITEM", plain(item)}, {"ARGS", string(args)}} {
			switch {
			case len(v.value) <= maxEnv:
				env = append(env, v.name+"="+v.value)
			case v.used(p.Script):
				return nil, nil, v.tooLarge()
			}
		}
	}
	if err := os.WriteFile(script, []byte(p.Script), 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(in, input, 0o600); err != nil {
		return nil, nil, err
	}
	stdin, err := os.Open(in)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(interpreter[0], argv...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, env, stdin
	return cmd, stdin, nil
}

// interpreterOf is what the first line of a script asks for, as the kernel reads it:
// #!PATH and at most one argument. It is nil when the line asks for nothing.
func interpreterOf(script string) []string {
	line, _, _ := strings.Cut(script, "\n")
	asks, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return nil
	}
	path, argument, _ := strings.Cut(strings.TrimSpace(asks), " ")
	if path == "" {
		return nil
	}
	if argument = strings.TrimSpace(argument); argument != "" {
		return []string{path, argument}
	}
	return []string{path}
}

// variable is one of the environment that holds an input of the part.
type variable struct{ name, value string }

// used says whether a script has the variable's name as a word of its own. One
// that does would work on nothing where the value is too large to be set.
func (v variable) used(script string) bool {
	return regexp.MustCompile(`\b` + v.name + `\b`).MatchString(script)
}

func (v variable) tooLarge() error {
	return fmt.Errorf("its %s is %d bytes, and $%s holds at most %d: let the script read the file $%s_FILE, which has it as JSON, and not name %s",
		strings.ToLower(v.name), len(v.value), v.name, maxEnv, v.name, v.name)
}

// environment is an allow-list: what the worker has in its own (tokens, keys)
// is not the script's.
func environment(dir, tmp string, p wire.RunPart) []string {
	env := []string{
		"HOME=" + dir, "TMPDIR=" + tmp, "LANG=" + orElse(os.Getenv("LANG"), "C.UTF-8"),
		"PATH=" + orElse(os.Getenv("PATH"), "/usr/local/bin:/usr/bin:/bin"),
		"FOLKMOOT_JOB=" + p.Job, fmt.Sprintf("FOLKMOOT_PART=%d", p.Part), fmt.Sprintf("FOLKMOOT_ATTEMPT=%d", p.Attempt),
	}
	return env
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// plain is a JSON string's text, and any other JSON as it is.
func plain(item json.RawMessage) string {
	var s string
	if json.Unmarshal(item, &s) == nil && item[0] == '"' && !strings.ContainsRune(s, 0) {
		return s
	}
	return string(item)
}

// result reads what the process left: for python3 on its descriptor, for sh on
// its standard output.
func (r Runtime) result(raw []byte) (json.RawMessage, string) {
	if r.Name == "python3" {
		switch {
		case len(raw) == 0:
			return nil, "the process ended without a result"
		case raw[0] == '-':
			return nil, strings.ToValidUTF8(string(raw[1:]), "\uFFFD")
		}
		raw = raw[1:]
	} else {
		raw = bytes.TrimRight(raw, "\r\n")
		switch {
		case len(raw) == 0:
			raw = []byte("null")
		case !utf8.Valid(raw):
			return nil, notText(raw)
		case !json.Valid(raw):
			raw, _ = json.Marshal(string(raw))
		}
	}
	b, err := json.Marshal(json.RawMessage(raw)) // compact, as it will be sent
	if err != nil {
		return nil, fmt.Sprintf("the result is not JSON: %v", err)
	}
	if len(b) > wire.MaxResult {
		return nil, tooLarge(fmt.Sprintf("is %d bytes as JSON", len(b)))
	}
	if d := strictjson.Depth(b); d > wire.MaxDepth {
		return nil, fmt.Sprintf("the result is nested %d deep; the limit is %d", d, wire.MaxDepth)
	}
	return b, ""
}

// notText says which byte of a script's standard output is not UTF-8.
func notText(raw []byte) string {
	at := 0
	for at < len(raw) {
		r, size := utf8.DecodeRune(raw[at:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		at += size
	}
	return fmt.Sprintf("the result is not text: byte %d of standard output (0x%02X) is not UTF-8; let the script write bytes as base64", at+1, raw[at])
}

func tooLarge(how string) string {
	return fmt.Sprintf("the result %s; the limit is %d: store it where others can read it, and return its place", how, wire.MaxResult)
}
