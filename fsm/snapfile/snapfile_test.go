package snapfile_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm/snapfile"
)

var header = snapfile.Header{
	Cluster: "c1", Index: 812, Term: 3, Level: 2, Created: time.Date(2026, 12, 1, 2, 3, 4, 0, time.UTC), Coordinator: "n1",
}

// write returns a file with these rows of table "t".
func write(t testing.TB, rows ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := snapfile.NewWriter(&b, header)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Row("t", r); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.Close(); err != nil || n != len(rows) {
		t.Fatalf("closed: %d rows, %v", n, err)
	}
	return b.Bytes()
}

// readAll returns the rows of a file, or the first error.
func readAll(file []byte) (rows []string, err error) {
	r, err := snapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	for {
		table, row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, table+" "+string(row))
	}
}

func gunzip(t testing.TB, file []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func zipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

func TestAFileIsReadAsItWasWritten(t *testing.T) {
	long := strings.Repeat("<x>", 100_000) // longer than the reader's buffer, and left as it is
	file := write(t, map[string]int{"a": 1}, map[string]string{"b": long})
	rows, err := readAll(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0] != `t {"a":1}` || rows[1] != `t {"b":"`+long+`"}` {
		t.Errorf("the rows are %.200q", rows)
	}
	r, err := snapfile.NewReader(bytes.NewReader(file))
	want := header
	want.Format, want.Version = snapfile.Format, snapfile.Version
	if err != nil || r.Header() != want {
		t.Errorf("the header is %+v, %v; want %+v", r.Header(), err, want)
	}
}

// The words of the format are for ever: other programs read them.
func TestTheLinesOfAFile(t *testing.T) {
	text := gunzip(t, write(t, struct {
		ID string `json:"id"`
	}{"j1"}))
	want := `{"format":"folkmoot-snapshot","version":1,"cluster":"c1","index":812,"term":3,"level":2,"created":"2026-12-01T02:03:04Z","coordinator":"n1"}
{"t":"t","row":{"id":"j1"}}
`
	sum := sha256.Sum256([]byte(want))
	want += fmt.Sprintf("{\"end\":true,\"rows\":1,\"sha256\":\"%x\"}\n", sum)
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// Whatever happened to a file, it is refused with the first line that is wrong.
func TestWhatIsNotWholeIsRefused(t *testing.T) {
	good := write(t, map[string]int{"a": 1}, map[string]int{"b": 2})
	text := gunzip(t, good)
	lines := strings.SplitAfter(text, "\n")
	change := func(old, new string) []byte { return zipped(strings.Replace(text, old, new, 1)) }
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                {nil, "line 1: not a snapshot of a cluster: the file is cut short"},
		"no gzip":              {[]byte("a text that somebody wrote"), "line 1: not a snapshot of a cluster: the file is no gzip"},
		"another file":         {zipped("{\"format\":\"tar\"}\n"), "line 1: not the header of a snapshot"},
		"no header":            {zipped(lines[1]), "line 1: not the header"},
		"a newer version":      {change(`"version":1`, `"version":2`), "line 1: a snapshot of version 2: this binary reads versions 1 to 1"},
		"no version":           {change(`"version":1`, `"version":0`), "line 1: version 0"},
		"no cluster":           {change(`"cluster":"c1"`, `"cluster":""`), "line 1: version 1, level 2, cluster \"\""},
		"another index":        {change(`"index":812`, `"index":813`), "line 4: the snapshot was changed"},
		"a changed row":        {change(`"a":1`, `"a":7`), "line 4: the snapshot was changed"},
		"a lost row":           {zipped(lines[0] + lines[2] + lines[3]), "line 3: the last line counts 2 rows, there are 1"},
		"a row twice":          {zipped(lines[0] + lines[1] + lines[1] + lines[2] + lines[3]), "line 5: the last line counts 2 rows, there are 3"},
		"rows in other order":  {zipped(lines[0] + lines[2] + lines[1] + lines[3]), "line 4: the snapshot was changed"},
		"no row":               {zipped(lines[0] + "[]\n" + lines[3]), "line 2: not a row"},
		"no last line":         {zipped(lines[0] + lines[1]), "line 3: the file is cut short: no last line"},
		"a last line too many": {zipped(text + lines[3]), "line 4: there is more behind the last line"},
		"no end":               {zipped(lines[0] + `{"end":false,"rows":0}` + "\n"), "line 2: not the last line"},
		"half a line":          {zipped(text[:len(text)-9]), "line 4: the file is cut short"},
		"a long line":          {zipped(lines[0] + strings.Repeat("x", snapfile.MaxLine+2) + "\n"), "line 2: longer than 4194304 bytes"},
		"two files":            {append(bytes.Clone(good), good...), "line 4: there is more behind the end"},
	} {
		_, err := readAll(c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := readAll(good); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}

// No bit of a file may be flipped and no end of it cut off without notice.
func TestEveryFlippedBitAndEveryCutIsNoticed(t *testing.T) {
	good := write(t, map[string]int{"a": 1}, map[string]string{"b": "two"})
	want, err := readAll(good)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := readAll(good[:i]); err == nil {
			t.Errorf("the first %d of %d bytes were taken for the whole", i, len(good))
		}
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			// What gzip says of the file beside its content (time, system) may differ.
			if rows, err := readAll(bad); err == nil && strings.Join(rows, "\n") != strings.Join(want, "\n") {
				t.Errorf("bit %d of byte %d was flipped, and nobody noticed: %q", bit, i, rows)
			}
		}
	}
}

// failing takes n bytes, then no more.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// Whoever writes learns that the file is not whole, whichever call it happens in.
func TestAFailedWriteIsAnError(t *testing.T) {
	size := len(write(t, map[string]int{"a": 1}))
	for n := range size {
		w, err := snapfile.NewWriter(&failing{n}, header)
		if err == nil {
			err = w.Row("t", map[string]int{"a": 1})
		}
		if err == nil {
			_, err = w.Close()
		}
		if err == nil {
			t.Errorf("a disk with room for %d of %d bytes: no error", n, size)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(write(f))
	f.Add(write(f, map[string]int{"a": 1}))
	f.Add(zipped("{}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		rows, err := readAll(file)
		if err != nil {
			return
		}
		if again, err := readAll(file); err != nil || len(again) != len(rows) {
			t.Errorf("read twice: %d rows, then %d, %v", len(rows), len(again), err)
		}
	})
}
