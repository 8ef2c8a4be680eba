package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// What is no text cannot be sent as it is: its place is told, and nothing is sent.
func TestWhatIsNoTextIsRefused(t *testing.T) {
	dir := t.TempDir()
	good, bad, named := filepath.Join(dir, "good.sh"), filepath.Join(dir, "bad.sh"), filepath.Join(dir, "caf\xe9.sh")
	items, job := filepath.Join(dir, "items"), filepath.Join(dir, "job")
	write(t, good, "echo 1")
	write(t, bad, "echo one\necho caf\xe9\n")
	write(t, named, "echo 1")
	write(t, items, "one\ntwo\nth\xffree\n")
	for _, tc := range []struct {
		file, want string
		args       []string
	}{
		{"", bad + ": line 2, byte 9 (0xE9) is not UTF-8", []string{"jobs", "run", bad, "--items", "1"}},
		{"", items + ": line 3, byte 3 (0xFF) is not UTF-8", []string{"jobs", "run", good, "--items-file", items}},
		{"", `--items "a,\xe9": byte 3 (0xE9) is not UTF-8`, []string{"jobs", "run", good, "--items", "a,\xe9"}},
		{"", `--args "k=\xe9": byte 3 (0xE9) is not UTF-8`, []string{"jobs", "run", good, "--items", "1", "--args", "n=1", "--args", "k=\xe9"}},
		{"", `--label "host=\xe9": byte 6`, []string{"jobs", "run", good, "--items", "1", "--label", "host=\xe9"}},
		{"", `--name "\xe9": byte 1`, []string{"jobs", "run", good, "--items", "1", "--name", "\xe9"}},
		{"", "--name is needed", []string{"jobs", "run", named, "--items", "1"}},
		{"{\"runtime\":\"sh\",\n\"script\":\"caf\xe9\",\"items\":[1]}", job + ": line 2, byte 14 (0xE9) is not UTF-8", []string{"jobs", "submit", job}},
		{`{"runtime":"sh","script":"caf\udce9","items":[1]}`, "script holds half of a surrogate pair", []string{"jobs", "submit", job}},
		{"runtime: sh\nscript: caf\xe9\nitems: [1]\n", job + ": line 2, byte 12 (0xE9) is not UTF-8", []string{"jobs", "submit", job}},
		{"runtime: sh\nscript: echo\nitems: [a, !!binary /w==]\n", "items[1]: byte 1 (0xFF) is not UTF-8", []string{"jobs", "submit", job}},
		{"", `"caf\xe9": byte 4 (0xE9) is not UTF-8`, []string{"send", "n1.laser", "caf\xe9"}},
		{"", `"\"\xe9\"": byte 2 (0xE9) is not UTF-8`, []string{"send", "n1.laser", "\"\xe9\"", "--json"}},
		{"", `--reason "\xe9": byte 1`, []string{"components", "remove", "n1.laser", "--yes", "--reason", "\xe9"}},
	} {
		f := coordinator(t, map[string]any{"POST /jobs": wire.Job{ID: "j1"}})
		write(t, job, tc.file)
		if code, _, errs := raftctl(t, f, tc.args...); code != exitUsage || !strings.Contains(errs, tc.want) {
			t.Errorf("%q of %q: exit %d, stderr %q, want 2 and %q", tc.args, tc.file, code, errs, tc.want)
		}
		if len(f.bodies) != 0 {
			t.Errorf("%q: sent %q", tc.args, f.bodies)
		}
	}
	f := coordinator(t, map[string]any{"POST /jobs": wire.Job{ID: "j1", State: "queued"}})
	if code, _, errs := raftctl(t, f, "jobs", "run", named, "--name", "café", "--items", "é,\uFFFD"); code != exitDone {
		t.Errorf("text, in a file of another name: exit %d, %s", code, errs)
	}
	if got := submitted(t, f)["items"].([]any); len(got) != 2 || got[0] != "é" || got[1] != "\uFFFD" {
		t.Errorf("items %q were sent, want é and the character U+FFFD, which was meant", got)
	}
}
