package certfile_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/wire/durable"
)

var silent = slog.New(slog.DiscardHandler)

func newCA(t *testing.T) *authority.CA {
	t.Helper()
	ca, err := authority.New("lab", 24*time.Hour)
	must(t, err)
	return ca
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func member(id string, life time.Duration) authority.Leaf {
	return authority.Leaf{Role: authority.RoleMember, ID: id, Life: life}
}

// swap lets the link point to another directory, as Kubernetes does with a Secret.
func swap(t *testing.T, link, to string) {
	t.Helper()
	must(t, os.Symlink(to, link+".new"))
	must(t, os.Rename(link+".new", link))
}

// Changed files are taken into use within ten seconds. What cannot be used changes nothing and is counted once, but not
// before it was seen twice: whoever writes is between two files at times.
func TestChangedFilesAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		ca := newCA(t)
		dir, link := filepath.Join(root, "1"), filepath.Join(root, "tls")
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.Symlink(dir, link))
		must(t, certfile.In(dir).Issue(ca, member("n1", time.Hour), nil))
		files := certfile.In(link)
		w, err := certfile.Open("test", certfile.Source{CA: files.CA, Pairs: []certfile.Pair{files.Pair}, Check: func(c *certfile.Content) error {
			if name, err := authority.NameOf(c.Leaf); err != nil || name.ID != "n1" {
				return errors.New("another's")
			}
			return nil
		}}, silent)
		must(t, err)
		go w.Run(t.Context())
		settle := func() { time.Sleep(10 * time.Second); synctest.Wait() }

		replaced := func(situation string, change func(dir string)) {
			t.Helper()
			before := w.Current().Leaf.SerialNumber
			change(link)
			settle()
			if now := w.Current().Leaf.SerialNumber; now.Cmp(before) == 0 {
				t.Errorf("%s: the old certificate is still in use after ten seconds", situation)
			}
			if w.Failures() != 0 {
				t.Errorf("%s: %d failures, want none", situation, w.Failures())
			}
		}
		issue := func(dir string) { must(t, certfile.In(dir).Issue(ca, member("n1", time.Hour), nil)) }
		replaced("new files", issue)
		replaced("a directory swapped by a link", func(string) {
			other := filepath.Join(root, "2")
			must(t, os.Mkdir(other, 0o700))
			issue(other)
			swap(t, link, other)
		})
		replaced("files written slowly", func(string) {
			cert, key, err := ca.Issue(member("n1", time.Hour))
			must(t, err)
			must(t, os.WriteFile(files.Key, key, 0o600))
			time.Sleep(3 * time.Second) // one look falls between the two
			must(t, os.WriteFile(files.Cert, cert, 0o600))
		})

		failures := uint64(0)
		refused := func(situation string, change func(f certfile.Files)) {
			t.Helper()
			before := w.Current()
			bad := filepath.Join(root, strings.ReplaceAll(situation, " ", "-"))
			must(t, os.Mkdir(bad, 0o700))
			issue(bad)
			change(certfile.In(bad))
			swap(t, link, bad)
			settle()
			failures++
			if w.Current() != before || w.Failures() != failures {
				t.Errorf("%s: the content in use changed: %t; %d failures, want %d", situation, w.Current() != before, w.Failures(), failures)
			}
			settle()
			if w.Failures() != failures {
				t.Errorf("%s: still there, counted again within seconds", situation)
			}
		}
		refused("half a key", func(f certfile.Files) {
			key, err := os.ReadFile(f.Key)
			must(t, err)
			must(t, os.WriteFile(f.Key, key[:len(key)/2], 0o600))
		})
		refused("a wrong pair", func(f certfile.Files) {
			_, key, err := ca.Issue(member("n1", time.Hour))
			must(t, err)
			must(t, os.WriteFile(f.Key, key, 0o600))
		})
		refused("an expired one", func(f certfile.Files) { must(t, f.Issue(ca, member("n1", -time.Second), nil)) })
		refused("another's", func(f certfile.Files) { must(t, f.Issue(ca, member("n2", time.Hour), nil)) })
		refused("a key open to all", func(f certfile.Files) { must(t, os.Chmod(f.Key, 0o604)) })
		refused("no authority", func(f certfile.Files) { must(t, os.WriteFile(f.CA, nil, 0o600)) })
		refused("no key", func(f certfile.Files) { must(t, os.Remove(f.Key)) })

		swap(t, link, dir)
		issue(dir)
		must(t, os.Chmod(files.Key, 0o440)) // a group may read it
		if err := w.Reload(); err != nil || w.Current().From != files.Pair {
			t.Errorf("good files at last: %v", err)
		}
		must(t, os.WriteFile(files.Cert, []byte("bad"), 0o600))
		if err := w.Reload(); err == nil || !strings.Contains(err.Error(), "cert.pem") || w.Failures() != failures+1 {
			t.Errorf("a reload that was asked for says at once what is wrong: got %v, %d failures", err, w.Failures())
		}
	})
}

// Of two places the certificate that ends later is used; one place may be empty, or hold one that has ended.
func TestLaterCertificateIsUsed(t *testing.T) {
	ca := newCA(t)
	a, b := certfile.In(t.TempDir()), certfile.In(t.TempDir())
	source := certfile.Source{CA: a.CA, Pairs: []certfile.Pair{a.Pair, b.Pair}}
	used := func() certfile.Pair {
		t.Helper()
		c, err := source.Load()
		must(t, err)
		return c.From
	}
	must(t, a.Issue(ca, member("n1", time.Hour), nil))
	if got := used(); got != a.Pair {
		t.Errorf("with one place empty: got %v", got)
	}
	must(t, b.Issue(ca, member("n1", 2*time.Hour), nil))
	if got := used(); got != b.Pair {
		t.Errorf("with a later one in the second: got %v", got)
	}
	must(t, b.Issue(ca, member("n1", -time.Second), nil))
	if got := used(); got != a.Pair {
		t.Errorf("with an expired one in the second: got %v", got)
	}
	must(t, a.Issue(ca, member("n1", -time.Second), nil))
	var expired *certfile.ExpiredError
	if _, err := source.Load(); !errors.As(err, &expired) {
		t.Errorf("both expired: got %v", err)
	}
	for _, name := range []string{a.Cert, a.Key, b.Cert, b.Key} {
		must(t, os.Remove(name))
	}
	if _, err := source.Load(); !errors.Is(err, certfile.ErrNoPair) {
		t.Errorf("none at all: got %v", err)
	}
}

// A certificate that could not be used beside another is looked at again: its time may come without a change of its
// file.
func TestARejectedCertificateIsLookedAtAgain(t *testing.T) {
	ca := newCA(t)
	a, b := certfile.In(t.TempDir()), certfile.In(t.TempDir())
	must(t, a.Issue(ca, member("n1", time.Hour), nil))
	must(t, b.Issue(ca, member("n1", 2*time.Hour), nil))
	early := true
	source := certfile.Source{CA: a.CA, Pairs: []certfile.Pair{a.Pair, b.Pair}, Check: func(c *certfile.Content) error {
		if early && c.From == b.Pair {
			return errors.New("its time has not come")
		}
		return nil
	}}
	w, err := certfile.Open("test", source, slog.New(slog.DiscardHandler))
	must(t, err)
	for range 3 {
		_ = w.Reload()
	}
	if got := w.Current().From; got != a.Pair {
		t.Errorf("while the later one is rejected: got %v", got)
	}
	early = false
	must(t, w.Reload())
	if got := w.Current().From; got != b.Pair {
		t.Errorf("once it is good: got %v, want the later one", got)
	}
}

// More than a certificate file can have is not read.
func TestHugeFilesAreRefused(t *testing.T) {
	ca := newCA(t)
	a := certfile.In(t.TempDir())
	must(t, a.Issue(ca, member("n1", time.Hour), nil))
	must(t, os.Truncate(a.Cert, 2<<20))
	if _, err := (certfile.Source{CA: a.CA, Pairs: []certfile.Pair{a.Pair}}).Load(); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a certificate of 2 MiB: got %v", err)
	}
}

// Whoever asks for the issuer asks at every handshake, so it is found when the files are read; it is the one of several
// authorities that signed.
func TestTheIssuerIsFoundOnce(t *testing.T) {
	files, ca := certfile.In(t.TempDir()), newCA(t)
	must(t, files.Issue(ca, member("n1", time.Hour), nil))
	foreign := authority.EncodeCertificate(newCA(t).Certificate().Raw)
	must(t, durable.WriteText(files.CA, append(foreign, authority.EncodeCertificate(ca.Certificate().Raw)...)))
	content, err := certfile.Source{CA: files.CA, Pairs: []certfile.Pair{files.Pair}}.Load()
	must(t, err)
	if issuer := content.Issuer(); len(content.Authorities) != 2 || issuer == nil || !issuer.Equal(ca.Certificate()) {
		t.Errorf("of %d authorities the issuer is %v", len(content.Authorities), issuer)
	}
	if n := testing.AllocsPerRun(10, func() { content.Issuer() }); n > 0 {
		t.Errorf("to ask for the issuer takes %.0f allocations: it is looked for each time", n)
	}
	must(t, durable.WriteText(files.CA, foreign))
	if content, err = (certfile.Source{CA: files.CA, Pairs: []certfile.Pair{files.Pair}}).Load(); err != nil || content.Issuer() != nil {
		t.Errorf("of a foreign authority: %v", err)
	}
}
