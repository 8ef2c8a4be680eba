package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokenFileIsItsFirstLineThatIsNoComment(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]struct{ token, err string }{
		"# for lab\n\n  fmt_abc  \nfmt_second\n": {token: "fmt_abc"},
		"fmt_abc":                                {token: "fmt_abc"},
		"":                                       {err: "holds no token"},
		"# nothing\n\n":                          {err: "holds no token"},
		"sha256:00ff\n":                          {err: "only the hash"},
		"fmt abc\n":                              {err: "is no token"},
		"fmt_\x00abc\n":                          {err: "is no token"},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := ReadTokenFile(path)
		if token != want.token || (err == nil) != (want.err == "") || err != nil && (!strings.Contains(err.Error(), want.err) || !strings.Contains(err.Error(), path)) {
			t.Errorf("%q: got %q, %v; want %q and an error with %q that names the file", text, token, err, want.token, want.err)
		}
	}
	if _, err := New(Config{TokenFile: filepath.Join(t.TempDir(), "none")}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a token file that is not there: %v", err)
	}
	if _, err := New(Config{Token: "fmt_abc", TokenFile: path}); err == nil {
		t.Error("a token and a token file were taken together")
	}
}

// A token that is replaced is used within seconds; while the file cannot be read, or holds none, the old one is.
func TestTokenFileIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("fmt_old\n")
		s, err := newTokenSource("", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ text, want string }{{"", "fmt_old"}, {"fmt_new", "fmt_new"}} {
			write(step.text)
			time.Sleep(tokenFileAge + time.Second)
			if got := s.current(); got != step.want {
				t.Errorf("with %q in the file: got %q, want %q", step.text, got, step.want)
			}
		}
	})
}
