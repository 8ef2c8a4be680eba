package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The census is the demo's real work: files, lines and exported names of every
// package of the Go standard library. The same count is written three times,
// here and in the two scripts, so that the results check each other.

//go:embed census/census.py
var censusPython string

//go:embed census/census.sh
var censusShell string

// tally is what is counted of one package.
type tally struct {
	Files    int `json:"files"`
	Lines    int `json:"lines"`
	Exported int `json:"exported"`
}

// census is the count of every package, by its path.
type census map[string]tally

// largest returns the n packages with the most lines, largest first.
func (t census) largest(n int) []string {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := t[b].Lines - t[a].Lines; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names[:min(n, len(names))]
}

// total sums the table.
func (t census) total() (sum tally) {
	for _, row := range t {
		sum.Files += row.Files
		sum.Lines += row.Lines
		sum.Exported += row.Exported
	}
	return sum
}

// diff names a package that two tables do not agree on, or is empty.
func (t census) diff(other census) string {
	for name, row := range t {
		if got, ok := other[name]; !ok || got != row {
			return fmt.Sprintf("%s: %+v and %+v", name, row, got)
		}
	}
	if len(t) != len(other) {
		return fmt.Sprintf("%d and %d packages", len(t), len(other))
	}
	return ""
}

// goSource finds the standard library's source.
func goSource() (string, error) {
	root := os.Getenv("GOROOT")
	if root == "" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			return "", fmt.Errorf("the Go standard library is not found: no GOROOT is set and `go env GOROOT` says: %w", err)
		}
		root = strings.TrimSpace(string(out))
	}
	src := filepath.Join(root, "src")
	if _, err := os.Stat(filepath.Join(src, "fmt", "print.go")); err != nil {
		return "", fmt.Errorf("no Go standard library under GOROOT %s: %w", root, err)
	}
	return src, nil
}

// packagesOf lists every directory below src that holds Go files.
func packagesOf(src string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == src {
			return err
		}
		name := d.Name()
		rel, _ := filepath.Rel(src, path)
		if name == "testdata" || strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") || rel == "cmd" || rel == "vendor" {
			return fs.SkipDir
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isSource(e.Name()) }) {
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = errors.New("no Go packages under " + src)
	}
	return found, err
}

func isSource(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

var (
	declared = regexp.MustCompile(`^(func|type|var|const) (\([^)]*\) )?[A-Z]`)
	blocks   = []string{"type (", "var (", "const ("}
)

// countAll does the whole census in this process.
func countAll(src string, packages []string) (census, error) {
	t := census{}
	for _, p := range packages {
		entries, err := os.ReadDir(filepath.Join(src, p))
		if err != nil {
			return nil, err
		}
		var row tally
		for _, e := range entries {
			if !isSource(e.Name()) {
				continue
			}
			lines, exported, err := countFile(filepath.Join(src, p, e.Name()))
			if err != nil {
				return nil, err
			}
			row.Files++
			row.Lines += lines
			row.Exported += exported
		}
		t[p] = row
	}
	return t, nil
}

func countFile(path string) (lines, exported int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, len(data)+1)
	block := false
	for in.Scan() {
		line := in.Bytes()
		lines++
		switch {
		case block:
			if bytes.HasPrefix(line, []byte(")")) {
				block = false
			} else if len(line) > 1 && line[0] == '\t' && line[1] >= 'A' && line[1] <= 'Z' {
				exported++
			}
		case slices.Contains(blocks, strings.TrimRight(string(line), " \t\r")):
			block = true
		case declared.Match(line):
			exported++
		}
	}
	return lines, exported, in.Err()
}

// censusItems cuts the packages into parts of at most n, as items of the
// runtime's script.
func censusItems(runtime, src string, packages []string, n int) ([]json.RawMessage, error) {
	var items []json.RawMessage
	for some := range slices.Chunk(packages, n) {
		var item any = map[string]any{"root": src, "packages": some}
		if runtime == "sh" {
			item = src + " " + strings.Join(some, " ")
		}
		b, err := json.Marshal(item)
		if err != nil {
			return nil, err
		}
		items = append(items, b)
	}
	return items, nil
}
