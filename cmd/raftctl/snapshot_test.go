package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/snapfile"
	"github.com/folkmoot/folkmoot/wire"
)

// stateFile is a snapshot of a cluster with a token.
func stateFile(t *testing.T) []byte {
	t.Helper()
	m := fsm.New()
	at := time.Date(2026, 12, 1, 2, 3, 4, 0, time.UTC)
	for i, c := range []struct {
		kind string
		body any
	}{
		{fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2}},
		{access.KindCreate, access.Create{ID: "t_1", Hash: "h", Grants: access.Grants{{Right: access.Admin}}}},
	} {
		line, err := fsm.Encode(c.kind, at, fsm.Author{By: "n1"}, c.body)
		if err != nil {
			t.Fatal(err)
		}
		if r := m.Apply(uint64(i+1), [][]byte{line}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
	}
	var b bytes.Buffer
	if err := m.View().WriteFile(t.Context(), &b, "n1", at); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func serveFile(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

func TestSnapshotSave(t *testing.T) {
	file := stateFile(t)
	f := coordinator(t, map[string]any{"GET /snapshot": serveFile(file)})
	path := filepath.Join(t.TempDir(), "lab.snap.gz")
	for _, more := range [][]string{nil, {"--verify"}} { // the second replaces the first
		code, out, errs := raftctl(t, f, append([]string{"snapshot", "save", path}, more...)...)
		if code != 0 || !strings.Contains(out, "cluster c1 at index 2, 1 rows") || errs != "" {
			t.Errorf("%v: %d %q %q", more, code, out, errs)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, file) {
			t.Errorf("%v: the file has %d bytes, want %d: %v", more, len(got), len(file), err)
		}
	}
	code, out, errs := raftctl(t, f, "snapshot", "save", "-")
	if code != 0 || out != string(file) || errs != "" {
		t.Errorf("to standard output: %d, %d bytes, %q", code, len(out), errs)
	}
	dir := filepath.Join(t.TempDir(), "kept")
	code, out, _ = raftctl(t, f, "snapshot", "save", "--dir", dir, "--keep", "1", "-o", "json")
	var made snapshotFile
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 {
		t.Fatalf("%d %q: %v", code, out, err)
	}
	if made.File != filepath.Join(dir, "folkmoot-c1-2-20261201T020304Z.snap.gz") || made.Index != 2 || made.Size != int64(len(file)) || made.Tables["access.token"] != 1 {
		t.Errorf("saved %+v", made)
	}
}

// What was there before stays, and nothing half is left, whatever breaks.
func TestSnapshotSaveThatBreaks(t *testing.T) {
	file := stateFile(t)
	var rowless bytes.Buffer
	w, err := snapfile.NewWriter(&rowless, snapfile.Header{Cluster: "c1", Level: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Row("jobs.unheard", struct{}{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		args   []string
		code   int
		want   string
	}{
		"the connection breaks": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(file[:50])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, nil, 1, "after 50 bytes"},
		"a proxy ends it early": {serveFile(file[:50]), nil, 1, "cut short"},
		"another page":          {serveFile([]byte("<html><body>Please sign in</body></html>")), nil, 1, "no gzip"},
		"a row of no table":     {serveFile(rowless.Bytes()), []string{"--verify"}, 1, "line 2: unknown table"},
		"no right":              {problem(403, wire.CodeForbidden, "needs admin"), nil, 1, "needs admin"},
	} {
		f := coordinator(t, map[string]any{"GET /snapshot": c.answer})
		dir := t.TempDir()
		path := filepath.Join(dir, "lab.snap.gz")
		if err := os.WriteFile(path, []byte("of yesterday"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, where := range [][]string{{path}, {"--dir", dir}, {"-"}} {
			code, _, errs := raftctl(t, f, append(append([]string{"snapshot", "save"}, where...), c.args...)...)
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("%s, %v: %d %q, want %d %q", name, where, code, errs, c.code, c.want)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "of yesterday" {
			t.Errorf("%s: the file of before has %q, %v", name, got, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s: there are %v, %v", name, left, err)
		}
	}
	f := coordinator(t, nil)
	for _, args := range [][]string{{}, {"x", "--dir", "y"}, {"x", "--keep", "2"}, {"--dir", "y", "--keep", "0"}, {""}} {
		if code, _, errs := raftctl(t, f, append([]string{"snapshot", "save"}, args...)...); code != 2 || f.requests() != "" {
			t.Errorf("%q: %d %q", args, code, errs)
		}
	}
}

func TestSnapshotInspectAndVerify(t *testing.T) {
	file := stateFile(t)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", file)
	code, out, errs := raftctl(t, nil, "snapshot", "inspect", good)
	for _, want := range []string{"c1", "folkmoot-snapshot, version 1", "2026-12-01T02:03:04Z by n1", "access.token"} {
		if code != 0 || !strings.Contains(out, want) || errs != "" {
			t.Errorf("inspect: %d %q %q, want %q", code, out, errs, want)
		}
	}
	var told snapshotFile
	if _, out, _ := raftctl(t, nil, "snapshot", "inspect", good, "-o", "json"); json.Unmarshal([]byte(out), &told) != nil || told.Rows != 1 || told.Cluster != "c1" || told.Level != 2 {
		t.Errorf("inspect -o json: %s", out)
	}
	if code, out, _ := raftctl(t, nil, "snapshot", "verify", good); code != 0 || !strings.Contains(out, "whole and unchanged, cluster c1 at index 2, 1 rows") {
		t.Errorf("verify: %d %q", code, out)
	}
	flipped := bytes.Clone(file)
	flipped[len(flipped)/2] ^= 1
	for path, want := range map[string]string{
		write("flipped", flipped):                  "line ",
		write("cut", file[:len(file)-20]):          "cut short",
		write("text", []byte("token: fmt_secret")): "line 1: not a snapshot of a cluster",
		write("more", append(file, "and more"...)): "line 3: there is more behind the end",
		filepath.Join(dir, "none"):                 "no such file",
		dir:                                        "is a directory",
		write("empty", nil):                        "line 1: ",
	} {
		for _, command := range []string{"inspect", "verify"} {
			code, out, errs := raftctl(t, nil, "snapshot", command, path)
			if code != 1 || out != "" || !strings.Contains(errs, want) || !strings.Contains(errs, path) {
				t.Errorf("%s %s: %d %q %q, want %q", command, path, code, out, errs, want)
			}
		}
	}
}

func TestSnapshotRestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.snap.gz")
	if err := os.WriteFile(path, stateFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	f := coordinator(t, map[string]any{"PUT /snapshot": wire.Restored{Cluster: "c9", FileCluster: "c1", FileIndex: 2, Rows: 1, Index: 40}})
	code, out, errs := raftctl(t, f, "snapshot", "restore", path, "--cluster", "c9", "--foreign")
	if code != 0 || !strings.Contains(out, "cluster c9 has the state of cluster c1 at index 2, 1 rows, since index 40") || errs != "" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if got := f.requests(); got != "PUT /v1/snapshot?cluster=c9&foreign=true" || f.bodies[0] != string(stateFile(t)) {
		t.Errorf("asked %q with %d bytes", got, len(f.bodies[0]))
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := errors.Join(os.WriteFile(large, nil, 0o600), os.Truncate(large, fsm.MaxRestoreFile+1)); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"give --cluster ID":   {path},
		"not a snapshot of a": {bad, "--cluster", "c9"},
		"no such file":        {bad + "x", "--cluster", "c9"},
		"can be restored":     {large, "--cluster", "c9"}, // not read at all
	} {
		f := coordinator(t, nil)
		code, _, errs := raftctl(t, f, append([]string{"snapshot", "restore"}, args...)...)
		if code == 0 || !strings.Contains(errs, want) || f.requests() != "" {
			t.Errorf("%q: %d %q, asked %q", args, code, errs, f.requests())
		}
	}
	f = coordinator(t, map[string]any{"PUT /snapshot": problem(409, wire.CodeConflict, "the snapshot is of cluster c1, this is cluster c9")})
	if code, _, errs := raftctl(t, f, "snapshot", "restore", path, "--cluster", "c9"); code != 1 || !strings.Contains(errs, "is of cluster c1") {
		t.Errorf("%d %q", code, errs)
	}
}

// Who makes a file that cannot be restored by default is told of it then.
func TestAFileThatIsTooLargeToRestore(t *testing.T) {
	for f, want := range map[*snapshotFile]string{
		{File: "x", Size: fsm.MaxRestoreFile, Bytes: fsm.DefaultRestoreBytes}:     "",
		{File: "x", Size: fsm.MaxRestoreFile, Bytes: fsm.DefaultRestoreBytes + 1}: "--restore-bytes",
		{File: "x", Size: fsm.MaxRestoreFile + 1, Bytes: 1}:                       "at most 1073741824 bytes",
	} {
		var errs bytes.Buffer
		(&app{err: &errs}).warnOfRestore(*f)
		if got := errs.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
}
