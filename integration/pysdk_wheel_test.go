package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/gateway/pyenv"
)

// packaging are the packages that build and lint the Python SDK, pinned.
var packaging = []string{"setuptools==84.2.1", "ruff==0.17.6"}

// runIn runs a program in a directory and returns what it prints.
func runIn(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, append(cleanEnv(), "PYTHONDONTWRITEBYTECODE=1", "PIP_DISABLE_PIP_VERSION_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The Python SDK builds as a wheel without asking anybody for anything, which
// a fresh environment installs and imports, types and all.
func TestPythonSDKIsAWheel(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, packaging...)
	dir := t.TempDir()
	source, wheels, fresh := filepath.Join(dir, "source"), filepath.Join(dir, "wheels"), filepath.Join(dir, "fresh")
	if err := os.CopyFS(source, os.DirFS(filepath.Join("..", "sdk", "python"))); err != nil {
		t.Fatal(err)
	}
	runIn(t, source, python, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ".")
	found, err := filepath.Glob(filepath.Join(wheels, "folkmoot-*-py3-none-any.whl"))
	if err != nil || len(found) != 1 {
		t.Fatalf("wheels: %v, %v; want one for any Python 3", found, err)
	}
	runIn(t, dir, python, "-m", "venv", fresh)
	installed := filepath.Join(fresh, "bin", "python")
	runIn(t, dir, installed, "-m", "pip", "install", "--quiet", "--no-index", found[0])
	out := runIn(t, dir, installed, "-W", "error", "-c",
		"import folkmoot, folkmoot.sync, importlib.metadata as m, importlib.resources as r; "+
			"assert m.version('folkmoot') == folkmoot.__version__, m.version('folkmoot'); "+
			"print(folkmoot.__file__, r.files('folkmoot').joinpath('py.typed').is_file())")
	if !strings.HasPrefix(out, fresh) || !strings.HasSuffix(strings.TrimSpace(out), "True") {
		t.Errorf("imported %q, want what was installed in %s, with py.typed", out, fresh)
	}
}

// The Python SDK is formatted, and its linter has nothing to say.
func TestPythonSDKIsLinted(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, packaging...)
	for _, args := range [][]string{{"check"}, {"format", "--check"}} {
		runIn(t, filepath.Join("..", "sdk", "python"), python, append(append([]string{"-m", "ruff"}, args...), "--no-cache", ".")...)
	}
}
