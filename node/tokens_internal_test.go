package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/control"
)

const (
	tokenOne = "fmt_one-that-nobody-guesses-in-time"
	tokenTwo = "fmt_two-that-nobody-guesses-in-time"
)

func TestTokenFileLines(t *testing.T) {
	t.Parallel()
	one, two := control.HashToken(tokenOne), control.HashToken(tokenTwo)
	for _, c := range []struct {
		text   string
		hashes []string
		says   string // of the error
	}{
		{text: "# operators\n\n  " + tokenOne + " \r\nsha256:" + two + "\n", hashes: []string{one, two}},
		{text: "sha256:" + strings.ToUpper(two), hashes: []string{two}},
		{text: "", says: "no token"},
		{text: "# " + tokenOne, says: "no token"},
		{text: tokenOne + "\nsecret-too-short", says: "line 2: a token of 16 characters"},
		{text: tokenOne[:31], says: "line 1: a token of 31 characters"},
		{text: "sha256:" + two[:62], says: "line 1: behind sha256:"},
		{text: "sha256:" + strings.Repeat("x", 64), says: "line 1: behind sha256:"},
		{text: strings.Repeat("\u00e4", 32), says: "line 1: a token is printable ASCII"},
	} {
		hashes, err := parseTokens([]byte(c.text))
		if !slices.Equal(hashes, c.hashes) || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: got %q, %v, want %q, %q", c.text, hashes, err, c.hashes, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error has the token: %v", c.text, err)
		}
	}
}

// What is read again counts once it has settled, or at once if it must; what cannot be used leaves the tokens of before.
func TestTokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var used []string
	f := &tokenFile{path: path, use: func(hashes []string) error { used = hashes; return nil }}
	read := func(now bool, changed bool, tokens ...string) {
		t.Helper()
		got, err := f.read(now)
		var want []string
		for _, token := range tokens {
			want = append(want, control.HashToken(token))
		}
		if err != nil || got != changed || !slices.Equal(used, want) {
			t.Fatalf("read: %v, %v, in use %q, want %v, %q", got, err, used, changed, want)
		}
	}
	refused := func(now bool) {
		t.Helper()
		if _, err := f.read(now); err == nil || !strings.Contains(err.Error(), "--token-file "+path) {
			t.Fatalf("got %v, want an error naming the flag and the file", err)
		}
	}
	refused(true) // there is none
	write("")
	refused(true)
	write(tokenOne + "\n" + tokenTwo)
	read(true, true, tokenOne, tokenTwo)
	read(false, false, tokenOne, tokenTwo)
	write(tokenOne)
	read(false, false, tokenOne, tokenTwo) // perhaps it is being written
	read(false, true, tokenOne)
	write("")
	read(false, false, tokenOne)
	refused(false)
	refused(true)
	write("short")
	refused(true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refused(false)
	if !slices.Equal(used, []string{control.HashToken(tokenOne)}) {
		t.Errorf("in use are %q, want those of before", used)
	}
	write(tokenTwo)
	read(true, true, tokenTwo) // at a signal
	write(strings.Repeat("#", maxTokenFile+1))
	refused(true)
}
