package settings_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/cmd/settings"
)

// program is one with a setting of each kind.
type program struct {
	*settings.Set
	name   string
	slots  int
	grace  time.Duration
	labels []string
	client settings.Client
}

func newProgram() *program {
	p := &program{Set: settings.New("config", settings.ReadFile)}
	p.DeclareFile("YAML file")
	p.StringVar(&p.name, "name", "default", "")
	p.IntVar(&p.slots, "slots", 1, "")
	p.DurationVar(&p.grace, "grace", time.Second, "")
	p.StringSliceVar(&p.labels, "labels", []string{"default"}, "")
	p.client.Declare(p.Set)
	return p
}

func (p *program) load(t *testing.T, environ []string, args ...string) error {
	t.Helper()
	if err := p.Parse(args); err != nil {
		t.Fatal(err)
	}
	return p.Load(environ)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A flag beats the environment, which beats the file, which beats the default;
// each value knows where it is from.
func TestNearerSourcesWin(t *testing.T) {
	file := write(t, "name: file\nslots: 2\ngrace: 2s\nlabels: [a=1, b=2]\n")
	p := newProgram()
	if err := p.load(t, []string{"FOLKMOOT_NAME=env", "FOLKMOOT_SLOTS=3", "FOLKMOOT_CONFIG=" + file, "NAME=x"}, "--name", "flag"); err != nil {
		t.Fatal(err)
	}
	if p.name != "flag" || p.slots != 3 || p.grace != 2*time.Second || !slices.Equal(p.labels, []string{"a=1", "b=2"}) {
		t.Errorf("got %q, %d, %s, %q", p.name, p.slots, p.grace, p.labels)
	}
	var out bytes.Buffer
	if err := settings.Print(&out, p.Rows(), true); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"name flag flag --name", "slots 3 environment FOLKMOOT_SLOTS", "grace 2s file " + file, "labels [a=1 b=2] file " + file,
		"addr 127.0.0.1:7380 default",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("config show has no %q:\n%s", want, out.String())
		}
	}
}

// A list is written in a file as a list, or as one text with commas as elsewhere.
func TestLists(t *testing.T) {
	for text, want := range map[string][]string{
		"labels: [a, b]": {"a", "b"}, "labels: a,b": {"a", "b"}, "labels: []": {}, "labels:": {"default"}, "labels: &x [a]": {"a"},
	} {
		p := newProgram()
		if err := p.load(t, nil, "--config", write(t, text+"\n")); err != nil || !slices.Equal(p.labels, want) {
			t.Errorf("%s: got %q, %v, want %q", text, p.labels, err, want)
		}
	}
}

// A value in a file is taken as it is written there.
func TestScalarsAreTakenAsWritten(t *testing.T) {
	for text, want := range map[string]string{"007": "007", "yes": "yes", "1e3": "1e3", `"a: b"`: "a: b", "2026-01-02": "2026-01-02", "": "default", "~": "default"} {
		p := newProgram()
		if err := p.load(t, nil, "--config", write(t, "name: "+text+"\n")); err != nil || p.name != want {
			t.Errorf("name: %s: got %q, %v, want %q", text, p.name, err, want)
		}
	}
}

// An error names the file and the key, or the variable, and how the value is written.
func TestErrorsNameTheSource(t *testing.T) {
	for _, c := range []struct {
		file, env string
		want      []string
	}{
		{file: "nme: x", want: []string{"settings.yaml: ", `unknown setting "nme"`, `the nearest is "name"`}},
		{file: "token_file: x", want: []string{`unknown setting "token_file"`, `"token-file"`}},
		{file: "raft: {dir: x}", want: []string{`unknown setting "raft.dir"`}},
		{file: "name: {a: x}", want: []string{`unknown setting "name.a"`}},
		{file: "nme:", want: []string{`unknown setting "nme"`}},
		{file: "config: x", want: []string{`unknown setting "config"`}},
		{file: "slots: many", want: []string{"settings.yaml: ", `--slots "many"`, "whole number"}},
		{file: "slots: [1]", want: []string{"--slots", "one value"}},
		{file: "grace: soon", want: []string{`--grace "soon"`, "500ms"}},
		{file: "labels: [[a]]", want: []string{"line 1: labels"}},
		{file: "- name", want: []string{"settings.yaml: "}},
		{file: "name: x\nname: y", want: []string{`"name" already defined`}},
		{env: "FOLKMOOT_SLOTS=many", want: []string{`FOLKMOOT_SLOTS="many"`, "whole number"}},
		{env: "FOLKMOOT_CONFIG=/no/such.yaml", want: []string{"--config /no/such.yaml"}},
	} {
		var args []string
		if c.file != "" {
			args = []string{"--config", write(t, c.file+"\n")}
		}
		err := newProgram().load(t, []string{c.env}, args...)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s%s: got %v, want an error with %q", c.file, c.env, err, want)
			}
		}
	}
}

// Of a token and a token file the nearer one is used, and no token is shown.
func TestTheNearerTokenIsUsed(t *testing.T) {
	file := write(t, "token: file\n")
	for _, c := range []struct {
		env         string
		args        []string
		token, path string
	}{
		{args: []string{"--config", file}, token: "file"},
		{env: "FOLKMOOT_TOKEN_FILE=f", args: []string{"--config", file}, path: "f"},
		{env: "FOLKMOOT_TOKEN=env", args: []string{"--config", file, "--token-file", "f"}, path: "f"},
		{args: []string{"--token", "flag", "--token-file", "f"}, token: "flag", path: "f"},
	} {
		p := newProgram()
		if err := p.load(t, []string{c.env}, c.args...); err != nil || p.client.Token != c.token || p.client.TokenFile != c.path {
			t.Errorf("%s %v: got token %q, file %q, %v", c.env, c.args, p.client.Token, p.client.TokenFile, err)
		}
		for _, r := range p.Rows() {
			if r.Name == "token" && c.token != "" && r.Value != "(hidden)" {
				t.Errorf("config show tells the token: %+v", r)
			}
		}
	}
}

// Further variables of a setting come before its own.
func TestFurtherVariables(t *testing.T) {
	p := newProgram()
	if err := p.load(t, []string{"FOLKMOOT_CA=b", "FOLKMOOT_CACERT=a"}); err != nil || p.client.CA != "a" {
		t.Errorf("got %q, %v, want a", p.client.CA, err)
	}
	if got := newProgram().Unknown([]string{"FOLKMOOT_CACERT=a", "FOLKMOOT_NME=x", "FOLKMOOT_B=", "FOLKMOOT_CONFIG=y"}, []string{"FOLKMOOT_B"}); !slices.Equal(got, []string{"FOLKMOOT_NME"}) {
		t.Errorf("unknown variables are %q", got)
	}
	if got := settings.NonEmpty([]string{"A=", "B=x=", "C=y"}); !slices.Equal(got, []string{"B=x=", "C=y"}) {
		t.Errorf("variables with a value are %q", got)
	}
}
