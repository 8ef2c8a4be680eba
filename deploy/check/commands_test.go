package check

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Every container of every set runs a program that is in the image, with a
// command and flags that it knows, and variables that some setting has.
func TestCommandsExist(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "./cmd/...")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := map[string]bool{}
	for name, objects := range sets(t) {
		for maker, pod := range pods(t, objects) {
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				args, environ := expand(t, c)
				line := strings.Join(append(slices.Clone(c.Command), args...), " ")
				if seen[line] {
					continue
				}
				seen[line] = true
				cmd := exec.Command(filepath.Join(bin, path.Base(c.Command[0])), ask(args)...)
				cmd.Env = append(environ, "HOME="+t.TempDir())
				if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "no setting has that name") {
					t.Errorf("%s, %s: %s: %v\n%s", name, maker, line, err, out)
				}
			}
		}
	}
	if len(seen) < 3 {
		t.Errorf("only %d commands were tried", len(seen))
	}
}

// ask turns arguments into ones that do nothing but read them: settings are
// shown, of any other command there is help.
func ask(args []string) []string {
	switch {
	case len(args) > 0 && args[0] == "serve":
		return append([]string{"config", "show"}, args[1:]...)
	case len(args) > 0 && strings.HasPrefix(args[0], "-"):
		return append([]string{"config", "show"}, args...)
	}
	return append(slices.Clone(args), "--help")
}

var reference = regexp.MustCompile(`\$\(([A-Z_]+)\)`)

// expand puts the container's variables in place of $(NAME), as the kubelet does.
func expand(t *testing.T, c corev1.Container) (args, environ []string) {
	t.Helper()
	values := map[string]string{}
	of := func(text string) string {
		return reference.ReplaceAllStringFunc(text, func(r string) string {
			value, ok := values[r[2:len(r)-1]]
			if !ok {
				t.Errorf("%s: %s refers to %s, which is not set before", c.Name, text, r)
			}
			return value
		})
	}
	for _, e := range c.Env {
		values[e.Name] = of(e.Value)
		if e.ValueFrom != nil {
			values[e.Name] = "3" // a name and a number, whatever is asked for
		}
		environ = append(environ, e.Name+"="+values[e.Name])
	}
	for _, a := range c.Args {
		args = append(args, of(a))
	}
	return args, environ
}
