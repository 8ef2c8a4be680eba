package fsm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// largerLimits is a log that only a binary with larger limits and longer lists
// writes down: each command is beyond those of this one in every field.
func largerLimits(t *testing.T) [][][]byte {
	r := &recorder{t: t, machine: fsm.New()}
	long := strings.Repeat("ü", 600)
	var labels registry.Labels
	runtimes := make([]string, 0, 200)
	for i := range 200 {
		labels = append(labels, registry.Label{Key: fmt.Sprintf("%04d=%s", i, long[:100]), Value: "x"})
		runtimes = append(runtimes, fmt.Sprint("runtime ü ", i))
	}
	labels[0].Value = strings.Repeat(long, 2)
	far := announce("n/1 ü")
	far.Coordinator.Namespace, far.Coordinator.ServerID, far.Coordinator.PeerAddr = long, long, long
	far.Coordinator.HTTPAddr, far.Coordinator.ComponentAddr, far.Coordinator.LECOAddr, far.Coordinator.Version = long, long, long, long
	r.entry(command{fsm.KindFound, fsm.Found{Cluster: long}}, command{registry.KindAnnounce, far}, command{registry.KindAnnounce, announce("n1")})
	in := registry.SignIn{
		Name: " " + long, Namespace: long, Session: long, SecretHash: long, Home: "n/1 ü", Kind: long, Labels: labels,
		Place: wire.Place{Host: long, Group: long}, Lease: 9000 * time.Hour, Runtimes: runtimes, Slots: 1_000_000,
	}
	r.entry(command{registry.KindSignIn, in}, command{registry.KindSignIn, worker("good")}, command{registry.KindSignIn, worker("other")})
	submit := jobs.Submit{ID: "j/" + long, By: long, Spec: jobs.Spec{
		Name: long, Runtime: "wasm", Group: long, Range: wire.Range{To: 10_000_000, Chunk: 1}, Priority: 1_000_000, Parallel: 10_000_000,
		MaxAttempts: 10_000, MaxLosses: 10_000, Timeout: wire.Duration(9000 * time.Hour), PartTimeout: wire.Duration(9000 * time.Hour),
		Keep: wire.Duration(9000 * time.Hour), Labels: labels.Map(), Script: "\x00",
	}}
	r.entry(command{jobs.KindSubmit, submit})
	submit.ID, submit.Spec.Priority, submit.Spec.Group, submit.Spec.Labels = "large", -1, "", nil
	submit.Spec.Range, submit.Spec.Script = wire.Range{}, strings.Repeat("<", 200_000)
	for range 20 {
		submit.Spec.Items = append(submit.Spec.Items, json.RawMessage(strings.Repeat("[", 300)+strings.Repeat("]", 300)))
	}
	submit.Spec.Args = submit.Spec.Items[0]
	r.entry(command{jobs.KindSubmit, submit})
	ref := r.give("large", 0, "good")
	r.finish(jobs.PartDone{Ref: ref, OK: true, Result: json.RawMessage(`"` + strings.Repeat("z", wire.MaxResult) + `"`)}, 0)
	r.finish(jobs.PartDone{Ref: r.give("large", 1, "good"), OK: true, Result: submit.Spec.Args}, 0)
	r.entry(command{jobs.KindCancel, jobs.Cancel{ID: "large", Reason: strings.Repeat(long, 10)}})
	r.entry(command{registry.KindExpire, registry.Expire{
		Sessions: []registry.Fence{{FullName: "n1.good", Session: "s-good", Epoch: 1}}, Reason: strings.Repeat(long, 10),
	}}, command{registry.KindRemove, registry.Remove{FullName: "n1.other", Reason: strings.Repeat(long, 10)}})
	return r.entries
}

// A limit is asked before a command is proposed; what was written down by a
// binary that has larger ones is carried out.
func TestLimitsDoNotJudgeTheLog(t *testing.T) {
	m := fsm.New()
	entries, _ := readLog(t, "testdata/log-larger-limits.golden")
	for i, lines := range entries {
		for n, r := range m.Apply(uint64(i+1), lines) {
			if r.Err != nil {
				t.Errorf("%.80s: %v", lines[n], r.Err)
			}
		}
	}
	if reject := fsm.Validate(registry.SignIn{Name: "a", Namespace: "n1", Session: "s", SecretHash: "h", Home: "n1", Slots: 1_000_000}); wire.CodeOf(reject) != wire.CodeInvalid {
		t.Errorf("a sign-in beyond the limits may be proposed: %v", reject)
	}
}

// other is this binary with each limit multiplied, or divided, and with other
// lists.
type other struct {
	op       string
	runtimes string
}

// rewrite returns a file of limits as the other binary has it.
func (o other) rewrite(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	from, changed := 0, 0
	put := func(e ast.Expr, now string) {
		at, end := fset.Position(e.Pos()).Offset, fset.Position(e.End()).Offset
		out = append(append(out, text[from:at]...), strings.ReplaceAll(now, "%", string(text[at:end]))...)
		from = end
		changed++
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			v, ok := s.(*ast.ValueSpec)
			switch {
			case !ok:
			case g.Tok == token.CONST && (strings.HasPrefix(v.Names[0].Name, "Max") || strings.HasPrefix(v.Names[0].Name, "Default")):
				put(v.Values[0], "(%) "+o.op)
			case g.Tok == token.VAR && v.Names[0].Name == "runtimes":
				put(v.Values[0], o.runtimes)
			}
		}
	}
	if changed < 4 {
		t.Fatalf("%s has %d limits: where are they now?", file, changed)
	}
	return append(out, text[from:]...)
}

// Binaries whose limits and lists are others carry out the same logs to the
// same states: they are built here, and replay the golden logs.
func TestOtherLimitsSameStates(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two other binaries")
	}
	golang, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command to build with")
	}
	for name, o := range map[string]other{
		"larger":  {"* 9", `[]string{"lua", "python3", "sh", "wasm"}`},
		"smaller": {"/ 9", `[]string{"lua"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, overlay := t.TempDir(), struct{ Replace map[string]string }{map[string]string{}}
			for i, file := range []string{"../wire/doc.go", "../access/limits.go", "../registry/limits.go", "../jobs/limits.go"} {
				abs, err := filepath.Abs(file)
				if err != nil {
					t.Fatal(err)
				}
				overlay.Replace[abs] = filepath.Join(dir, fmt.Sprint(i, ".go"))
				if err := os.WriteFile(overlay.Replace[abs], o.rewrite(t, file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			list := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(list, []byte(asJSON(t, overlay)), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, golang, "test", "-vet=off", "-overlay", list, "-run", "^TestGoldenLogs$", "-v", ".").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestGoldenLogs/") {
				t.Errorf("with %s limits: %v\n%.4000s", name, err, out)
			}
		})
	}
}

// No limit is named where commands are carried out: only where they are checked
// before they are proposed.
func TestLimitsAreNoRules(t *testing.T) {
	before := []string{"Validate", "Check", "Encode", "encodeFast", "errTooLarge"}
	for _, dir := range []string{".", "../access", "../registry", "../jobs"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		limits := limitsOf(t, dir)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || filepath.Base(file) == "limits.go" {
				continue
			}
			for _, d := range parse(t, file).Decls {
				if f, ok := d.(*ast.FuncDecl); ok && slices.Contains(before, f.Name.Name) {
					continue
				}
				for _, name := range limitsIn(d, limits) {
					t.Errorf("%s: %s is this binary's limit, and judges a command of the log", file, name)
				}
			}
		}
	}
}

// limitsIn lists the limits that a declaration uses: those given, and those of
// package wire. Names of fields are none.
func limitsIn(in ast.Node, limits map[string]bool) (used []string) {
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			used = append(used, limitsIn(n.Type, limits)...)
			return false
		case *ast.KeyValueExpr:
			used = append(used, limitsIn(n.Value, limits)...)
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "wire" && strings.HasPrefix(n.Sel.Name, "Max") {
				used = append(used, "wire."+n.Sel.Name)
			} else {
				used = append(used, limitsIn(n.X, limits)...)
			}
			return false
		case *ast.Ident:
			if limits[n.Name] {
				used = append(used, n.Name)
			}
		}
		return true
	})
	return used
}

// limitsOf returns the constants and variables of a package's limits.go.
func limitsOf(t *testing.T, dir string) map[string]bool {
	names := map[string]bool{}
	file := filepath.Join(dir, "limits.go")
	if _, err := os.Stat(file); err != nil {
		return names
	}
	for _, d := range parse(t, file).Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok != token.IMPORT {
			for _, s := range g.Specs {
				names[s.(*ast.ValueSpec).Names[0].Name] = true
			}
		}
	}
	return names
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
