package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// tlsCluster is a cluster with TLS and tokens, of which n1 alone has the authority's key.
type tlsCluster struct {
	*cluster
	ca, token string // the directory of the authority, and a file with the operator's token
}

// startTLSCluster starts three coordinators.
func startTLSCluster(t *testing.T) *tlsCluster {
	t.Helper()
	dir := t.TempDir()
	s := &tlsCluster{ca: filepath.Join(dir, "ca")}
	s.cluster = newCluster(t, 3)
	c := s.cluster
	s.ctl(0, "ca", "init", "--cluster", "lab", "--dir", s.ca)
	secret := strings.TrimSpace(s.ctl(0, "tokens", "new"))
	trust, err := client.LoadTLS(filepath.Join(s.ca, "ca.pem"), "", "")
	must(t, err)
	for i, p := range c.nodes {
		p.args = append(p.args, "--tls-dir", s.tls(p.name))
		p.tls, s.token = trust, p.asksForToken(secret)
		if i > 0 {
			s.ctl(0, "ca", "issue", "--dir", s.ca, "--id", p.name, "--out", s.tls(p.name))
			continue
		}
		must(t, os.Mkdir(s.tls(p.name), 0o700))
		s.copy("n1", "ca.pem", "ca-key.pem")
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tls is the --tls-dir of a coordinator.
func (s *tlsCluster) tls(id string) string { return filepath.Join(s.dir, id+"-tls") }

// copy copies files of the authority to a coordinator.
func (s *tlsCluster) copy(id string, names ...string) {
	s.t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(s.ca, name))
		must(s.t, err)
		must(s.t, os.WriteFile(filepath.Join(s.tls(id), name), text, 0o600))
	}
}

// ask runs raftctl with the operator's token.
func (s *tlsCluster) ask(want int, args ...string) string {
	s.t.Helper()
	return s.ctl(want, append(args, "--ca", filepath.Join(s.ca, "ca.pem"), "--token-file", s.token)...)
}

// joinToken makes a join token, and returns its file and when it ends.
func (s *tlsCluster) joinToken(id, ttl string) (file string, ends time.Time) {
	s.t.Helper()
	var made wire.JoinToken
	must(s.t, json.Unmarshal([]byte(s.ask(0, "tokens", "join", "--id", id, "--ttl", ttl, "-o", "json")), &made))
	file = filepath.Join(s.t.TempDir(), "join")
	must(s.t, os.WriteFile(file, []byte("# for "+made.ID+"\n"+made.Token+"\n"), 0o600))
	return file, made.Expires
}

// request asks one coordinator for a certificate, and returns what was printed.
func (s *tlsCluster) request(want int, at *process, file, id, out string) string {
	s.t.Helper()
	return s.ctl(want, "ca", "request", "--addr", at.http, "--join-token-file", file, "--id", id, "--out", out, "--timeout", "1m")
}

// A fourth coordinator gets its certificate by a join token, by way of one that has no key of the authority, and joins. The
// token opens that once, for its id, in its time, and nothing else.
func TestJoinTokens(t *testing.T) {
	t.Parallel()
	s := startTLSCluster(t)
	n1, n2 := s.node("n1"), s.node("n2")
	says := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	file, _ := s.joinToken("n4", "10m")
	says(s.request(1, n2, file, "n5", filepath.Join(t.TempDir(), "n5")), "is for n4")
	s.request(0, n2, file, "n4", s.tls("n4"))
	if _, err := os.Stat(filepath.Join(s.tls("n4"), "ca-key.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the authority's key has travelled: %v", err)
	}
	again := filepath.Join(t.TempDir(), "again")
	says(s.request(1, n1, file, "n4", again), "was used")
	says(s.request(1, n2, file, "n4", again), "was used")

	n4 := s.join("n4", "--tls-dir", s.tls("n4"))
	n4.asksForToken(n1.token)
	n4.tls = n1.tls
	n4.start()
	eventually(t, "n4 is a healthy member", func(ctx context.Context) error {
		m, _, err := n2.api().Members(ctx, client.Read{})
		for _, row := range m.Members {
			if row.ID == "n4" && row.Healthy && row.Certificate != nil {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("members: %+v", m.Members))
	})

	short, ends := s.joinToken("n5", "1s")
	time.Sleep(time.Until(ends) + time.Millisecond)
	says(s.request(1, n1, short, "n5", again), "have another made") // expired, or cleared away already

	// A join token opens nothing else, and who has no admin makes none.
	says(s.ctl(1, "status", "--ca", filepath.Join(s.ca, "ca.pem"), "--token-file", file), "nothing else")
	user := filepath.Join(t.TempDir(), "user")
	must(t, os.WriteFile(user, []byte(s.ask(0, "tokens", "create", "--grant", "write@lab1")), 0o600))
	for _, args := range [][]string{{"tokens", "join", "--id", "n1"}, {"ca", "show"}, {"members", "add", n4.peer}} {
		says(s.ctl(1, append(args, "--ca", filepath.Join(s.ca, "ca.pem"), "--token-file", user)...), "forbidden")
	}
	low, err := client.New(client.Config{Addrs: []string{n1.http, n2.http}, TLS: n1.tls, TokenFile: user})
	must(t, err)
	defer low.Close()
	if _, _, err := low.SignCertificate(t.Context(), wire.SignCertificate{CSR: "x"}); wire.CodeOf(err) != wire.CodeForbidden {
		t.Errorf("a certificate by write@lab1: %v, want forbidden", err)
	}

	s.rotate(n1)
	secret, err := os.ReadFile(file)
	must(t, err)
	for _, p := range s.nodes {
		if text := p.log.String(); strings.Contains(text, strings.TrimSpace(strings.SplitN(string(secret), "\n", 2)[1])) {
			t.Errorf("the log of %s has the join token", p.name)
		}
	}
}

// rotate changes the authority at n1, of which a token of before is no use any more.
func (s *tlsCluster) rotate(n1 *process) {
	t := s.t
	t.Helper()
	old, _ := s.joinToken("n6", "1h")
	s.ask(0, "ca", "rotate", "begin", "--dir", s.ca)
	for _, p := range s.nodes {
		s.copy(p.name, "ca.pem")
		p.signal(syscall.SIGHUP)
	}
	eventually(t, "everybody trusts the next authority", func(context.Context) error {
		stdout, stderr, code := s.raftctl("ca", "rotate", "switch", "--dir", s.ca, "--ca", filepath.Join(s.ca, "ca.pem"), "--token-file", s.token)
		if code != 0 {
			return errors.New(stdout + stderr)
		}
		return nil
	})
	s.copy("n1", "ca-key.pem")
	n1.signal(syscall.SIGHUP)
	eventually(t, "n1 shows a certificate of the next authority", func(ctx context.Context) error {
		trust, err := client.LoadTLS(filepath.Join(s.ca, "ca.pem"), "", "")
		if err != nil {
			return err
		}
		api, err := client.New(client.Config{Addrs: []string{n1.http}, TLS: trust, TokenFile: s.token})
		if err != nil {
			return err
		}
		defer api.Close()
		m, _, err := api.Members(ctx, client.Read{})
		for _, row := range m.Members {
			if row.ID == "n1" && row.Certificate != nil && len(row.Certificate.Trusts) == 2 && row.Certificate.Issuer == row.Certificate.Trusts[1] {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("members: %+v", m.Members))
	})
	got := s.request(3, n1, old, "n6", filepath.Join(t.TempDir(), "n6"))
	if !strings.Contains(got, "does not prove the authority") {
		t.Errorf("with a token of the old authority: %s", got)
	}
	file, _ := s.joinToken("n7", "10m")
	s.request(0, n1, file, "n7", s.tls("n7"))
}
