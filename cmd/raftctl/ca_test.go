package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/wire"
)

// result is what a command line came to.
type result struct {
	code     int
	out, err string
}

// runCtl runs a command line, against a coordinator if there are answers.
func runCtl(t *testing.T, answers map[string]any, args ...string) (r result) {
	t.Helper()
	var f *fake
	if answers != nil {
		f = coordinator(t, answers)
	}
	r.code, r.out, r.err = raftctl(t, f, args...)
	return r
}

// An authority is made in files for their owner only, and never overwritten; it signs for members and clients.
func TestCAInitAndIssue(t *testing.T) {
	dir, out := filepath.Join(t.TempDir(), "tls"), filepath.Join(t.TempDir(), "n2")
	if r := runCtl(t, nil, "ca", "init", "--cluster", "lab", "--dir", dir); r.code != 0 {
		t.Fatalf("init: %+v", r)
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if r := runCtl(t, nil, "ca", "init", "--cluster", "lab", "--dir", dir); r.code != 1 || !strings.Contains(r.err, "never overwritten") {
		t.Errorf("init again: %+v", r)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "ca-key.pem")); err != nil || string(after) != string(before) {
		t.Error("init again changed the key")
	}
	if r := runCtl(t, nil, "ca", "issue", "--dir", dir, "--id", "n2", "--out", out, "--hosts", "host2,192.0.2.2", "--ttl", "24h"); r.code != 0 || !strings.Contains(r.out, "spiffe://lab/member/n2") {
		t.Fatalf("issue: %+v", r)
	}
	for _, name := range []string{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), filepath.Join(out, "ca.pem"), filepath.Join(out, "cert.pem"), filepath.Join(out, "key.pem")} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
	}
	f := certfile.In(out)
	c, err := certfile.Source{CA: f.CA, Pairs: []certfile.Pair{f.Pair}}.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"host2", "192.0.2.2", "localhost"} {
		if err := c.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	for situation, args := range map[string][]string{
		"another role":       {"--id", "n2", "--role", "admin"},
		"an id that is none": {"--id", "n2/x"},
		"a short life":       {"--id", "n2", "--ttl", "1s"},
		"a host that is not": {"--id", "n2", "--hosts", "a b"},
	} {
		if r := runCtl(t, nil, append([]string{"ca", "issue", "--dir", dir, "--out", t.TempDir()}, args...)...); r.code != 2 {
			t.Errorf("%s: %+v, want exit code 2", situation, r)
		}
	}
	if r := runCtl(t, nil, "ca", "issue", "--dir", t.TempDir(), "--id", "n2", "--out", out); r.code != 1 || !strings.Contains(r.err, "ca-key.pem") {
		t.Errorf("without an authority: %+v", r)
	}
}

// Each step of a rotation waits for the members: they must trust the next authority, then use it.
func TestCARotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	files := certfile.Authority{Dir: dir}
	old, err := files.Init("lab")
	if err != nil {
		t.Fatal(err)
	}
	oldMark := authority.Fingerprint(old.Certificate())
	member := wire.MemberCertificate{Expires: time.Now().Add(time.Hour), Issuer: oldMark, Trusts: []string{oldMark}}
	step := func(name string, extra ...string) result {
		t.Helper()
		answers := map[string]any{"GET /members": wire.Members{Members: []wire.Member{
			{ID: "n1", Alive: true, Certificate: &wire.MemberCertificate{Expires: member.Expires, Issuer: member.Issuer, Trusts: member.Trusts}},
			{ID: "n2", Alive: true, Certificate: &member},
		}}}
		return runCtl(t, answers, append([]string{"ca", "rotate", name, "--dir", dir}, extra...)...)
	}
	refused := func(name, want string) {
		t.Helper()
		if r := step(name); r.code != 1 || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v, want exit code 1 and %q", name, r, want)
		}
	}
	refused("switch", "begin is the first step")
	if r := step("begin"); r.code != 0 {
		t.Fatalf("begin: %+v", r)
	}
	refused("begin", "the next step is switch")
	refused("finish", "the next step is switch")
	refused("switch", "n1 does not trust the next authority")
	next, err := files.Next()
	if err != nil {
		t.Fatal(err)
	}
	mark := authority.Fingerprint(next.Certificate())
	member.Trusts = []string{oldMark, mark}
	if r := step("switch"); r.code != 0 {
		t.Fatalf("switch: %+v", r)
	}
	if ca, trust, err := files.Load(); err != nil || authority.Fingerprint(ca.Certificate()) != mark || strings.Count(string(trust), "BEGIN") != 2 {
		t.Errorf("after switch: %v, %v", ca, err)
	}
	refused("finish", "n2 uses a certificate of another authority")
	if r := step("show"); r.code == 0 {
		t.Errorf("rotate show: %+v", r)
	}
	member.Issuer = mark
	if r := step("finish"); r.code != 0 {
		t.Fatalf("finish: %+v", r)
	}
	if _, trust, err := files.Load(); err != nil || strings.Count(string(trust), "BEGIN") != 1 {
		t.Errorf("after finish: %s, %v", trust, err)
	}
	r := runCtl(t, map[string]any{"GET /members": wire.Members{Members: []wire.Member{{ID: "n1", Alive: true, Certificate: &member}, {ID: "n2"}}}}, "ca", "show", "--dir", dir)
	if r.code != 0 || !strings.Contains(r.out, mark[:12]) || !strings.Contains(r.out, "signs") {
		t.Errorf("show: %+v", r)
	}
}
