package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The count in this process, in Python and in sh agree on real packages.
func TestCensusAgreesInThreeLanguages(t *testing.T) {
	src, err := goSource()
	if err != nil {
		t.Skip(err)
	}
	packages := []string{"fmt", "go/ast", "net/http", "time"}
	want, err := countAll(src, packages)
	if err != nil {
		t.Fatal(err)
	}
	if want["net/http"].Lines < 10_000 || want["net/http"].Exported < 500 {
		t.Fatalf("net/http counted as %+v: too small to be true", want["net/http"])
	}
	for runtime, command := range map[string][]string{
		"sh":      {"sh", "-c", censusShell},
		"python3": {"python3", "-c", censusPython + "\nimport json,sys\nout=part(json.loads(os.environ['ITEM']))\nsys.stdout=sys.__stdout__\nprint('\\n'+json.dumps(out))"},
	} {
		t.Run(runtime, func(t *testing.T) {
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skip(err)
			}
			items, err := censusItems(runtime, src, packages, len(packages))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Env = append(os.Environ(), "ITEM="+string(items[0]))
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if i := len(out) - 1; runtime == "python3" {
				for i--; out[i] != '\n'; i-- {
				}
				out = out[i:]
			}
			got := census{}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if d := want.diff(got); d != "" {
				t.Errorf("%s does not agree: %s", runtime, d)
			}
		})
	}
}

// A package's tests and test data are not part of it.
func TestPackagesOfSkipsTestsAndTestdata(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a/a.go", "a/a_test.go", "a/testdata/x.go", "b/only_test.go", "c/d/d.go", "_old/x.go"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte("package x\n\nfunc Exported() {}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := packagesOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0] != "a" || got[1] != "c/d" {
		t.Fatalf("got %v, want [a c/d]", got)
	}
	tab, err := countAll(dir, got)
	if err != nil {
		t.Fatal(err)
	}
	if sum := tab.total(); sum != (tally{Files: 2, Lines: 6, Exported: 2}) {
		t.Errorf("got %+v, want 2 files, 6 lines, 2 names", sum)
	}
}
