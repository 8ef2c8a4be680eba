package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// packedFiles is a tar.gz of files by name.
func packedFiles(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// filesOf reads a file of raftctl debug.
func filesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	r := tar.NewReader(zip)
	for h, err := r.Next(); err == nil; h, err = r.Next() {
		var content bytes.Buffer
		if _, err := content.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		files[h.Name] = content.String()
	}
	return files
}

// Every member has a directory of its own; of those that cannot be asked it says why.
func TestDebug(t *testing.T) {
	second := coordinator(t, map[string]any{
		"GET /debug/bundle": problem(http.StatusForbidden, wire.CodeForbidden, "this needs admin, which token t_1 has not"),
	})
	third := coordinator(t, map[string]any{
		"GET /debug/bundle": serveFile(packedFiles(t, "status.json", "{}")[:40]),
	})
	at := func(f *fake) string { return strings.TrimPrefix(f.URL, "http://") }
	first := coordinator(t, map[string]any{
		"GET /status":       wire.Status{ID: "n1"},
		"GET /debug/bundle": serveFile(packedFiles(t, "status.json", `{"id":"n1"}`, "../../log.txt", "the log\n")),
		"GET /members": wire.Members{Members: []wire.Member{
			{ID: "n1", HTTPAddress: "nobody.invalid:1"}, // it is asked where it answered
			{ID: "n2", HTTPAddress: at(second)},
			{ID: "n3", HTTPAddress: at(third)},
			{ID: "../n4", HTTPAddress: "127.0.0.1:1"},
		}},
	})
	file := filepath.Join(t.TempDir(), "made.tar.gz")
	code, out, errs := raftctl(t, first, "debug", file, "--cpu", "2s")
	if code != 0 || !strings.Contains(out, "n1") || strings.Count(errs, "nothing of ") != 3 || !strings.Contains(errs, "nothing of n2") || !strings.Contains(errs, "needs admin") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if got := first.requests(); !strings.Contains(got, "GET /v1/debug/bundle?cpu=2s") {
		t.Errorf("asked for %s", got)
	}
	files := filesOf(t, file)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{".._n4/missing.txt", "bundle.json", "n1/log.txt", "n1/status.json", "n2/missing.txt", "n3/missing.txt"}
	if !slices.Equal(names, want) {
		t.Errorf("the file has %q, want %q", names, want)
	}
	if files["n1/log.txt"] != "the log\n" || !strings.Contains(files["n2/missing.txt"], "needs admin") || !strings.Contains(files["n3/missing.txt"], "no whole file") {
		t.Errorf("its files are %q", files)
	}
	var told debugFile
	if err := json.Unmarshal([]byte(files["bundle.json"]), &told); err != nil || len(told.Members) != 4 || told.CPU != "2s" {
		t.Errorf("bundle.json is %s (%v)", files["bundle.json"], err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is open to others: %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// Without anything to put into it no file is made, and what was there stays.
func TestDebugOfNobody(t *testing.T) {
	f := coordinator(t, map[string]any{
		"GET /status": wire.Status{ID: "n1"}, "GET /members": wire.Members{Members: []wire.Member{{ID: "n1"}}},
		"GET /debug/bundle": problem(http.StatusForbidden, wire.CodeForbidden, "this needs admin"),
	})
	file := filepath.Join(t.TempDir(), "made.tar.gz")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := raftctl(t, f, "debug", file); code != 1 || !strings.Contains(errs, "needs admin") {
		t.Errorf("%d %q", code, errs)
	}
	if got, _ := os.ReadFile(file); string(got) != "before" {
		t.Errorf("the file is now %q", got)
	}
	for _, args := range [][]string{{"debug"}, {"debug", "-"}, {"debug", file, "--cpu", "1h"}, {"debug", file, "--cpu", "-1s"}} {
		if code, _, errs := raftctl(t, f, args...); code != 2 {
			t.Errorf("%v: %d %q", args, code, errs)
		}
	}
}

// What a coordinator answers has an end: many files without anything in them count, too.
func TestUnpackDebugIsBounded(t *testing.T) {
	t.Parallel()
	var many []string
	for range maxDebugFiles + 1 {
		many = append(many, "x", "")
	}
	if files, err := unpackDebug(packedFiles(t, many...), maxDebugBytes); err == nil || !strings.Contains(err.Error(), "more than 1000 files") || len(files) != maxDebugFiles {
		t.Errorf("%d files, %v", len(files), err)
	}
	const most = 4 << 20
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	header := make([]byte, 512) // of a directory, again and again
	if err := func() error {
		var one bytes.Buffer
		if err := tar.NewWriter(&one).WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir}); err != nil {
			return err
		}
		copy(header, one.Bytes())
		block := bytes.Repeat(header, 2048)
		for range most/len(block) + 1 {
			if _, err := zip.Write(block); err != nil {
				return err
			}
		}
		return zip.Close()
	}(); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackDebug(packed.Bytes(), most); err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes") {
		t.Errorf("headers without end: %v", err)
	}
}

// Whatever a coordinator answers, no name leads out of its directory, and it is bounded.
func FuzzUnpackDebug(f *testing.F) {
	good := packedFiles(f, "status.json", "{}", "../../etc/passwd", "x", "..", "y", "", "z")
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte("no gzip"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		files, _ := unpackDebug(packed, maxDebugBytes)
		for _, one := range files {
			if strings.ContainsAny(one.name, `/\`) || strings.Trim(one.name, ".") == "" {
				t.Errorf("a file is called %q", one.name)
			}
		}
	})
}
