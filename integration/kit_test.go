package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// join prepares one more coordinator that knows the first ones' addresses,
// without starting it.
func (c *cluster) join(id string, extra ...string) *process {
	c.t.Helper()
	var peers []string
	for _, p := range c.nodes {
		peers = append(peers, p.peer)
	}
	free := ports(c.t, 3)
	return c.prepare(id, free[0], free[1], free[2], append([]string{"--join", strings.Join(peers, ",")}, extra...)...)
}

// in is the same cluster as seen by a subtest, which its failures end.
func (c *cluster) in(t *testing.T) *cluster {
	own := &cluster{t: t, dir: c.dir}
	for _, p := range c.nodes {
		q := *p
		q.t = t
		own.nodes = append(own.nodes, &q)
	}
	return own
}

// leave takes a coordinator off the list of those that must agree.
func (c *cluster) leave(p *process) {
	c.nodes = slices.DeleteFunc(c.nodes, func(q *process) bool { return q == p })
}

// follower is a running coordinator that does not lead.
func (c *cluster) follower() *process {
	c.t.Helper()
	return c.others(c.leader())[0]
}

// ctl runs raftctl and fails the test unless it exits with the status wanted.
// It returns all that was printed.
func (c *cluster) ctl(want int, args ...string) string {
	c.t.Helper()
	stdout, stderr, code := c.raftctl(args...)
	if code != want {
		c.t.Errorf("raftctl %s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), code, want, stdout, stderr)
	}
	return stdout + stderr
}

// says waits until a process has logged some words.
func (p *process) says(words string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s to say %q", p.name, words), func(ctx) error {
		if !strings.Contains(p.log.String(), words) {
			return errors.New("it has not")
		}
		return nil
	})
}

// answer is what a plain HTTP request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes a plain HTTP request of a coordinator, as curl would; headers are
// name, value, name, value.
func (p *process) ask(method, path, body string, headers ...string) answer {
	p.t.Helper()
	a, err := p.tryAsk(method, path, body, headers...)
	if err != nil {
		p.t.Fatalf("%s %s at %s: %v", method, path, p.name, err)
	}
	return a
}

func (p *process) tryAsk(method, path, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, method, "http://"+p.http+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		rq.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		rq.Header.Set(headers[i], headers[i+1])
	}
	rs, err := plain.Do(rq)
	if err != nil {
		return answer{}, err
	}
	defer rs.Body.Close()
	b, err := io.ReadAll(rs.Body)
	return answer{rs.StatusCode, rs.Header, string(b)}, err
}

// plain keeps no connections, so that no test is judged by another's.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// exists waits for a file that a script makes and returns what is in it.
func exists(t *testing.T, path string) string {
	t.Helper()
	var text []byte
	eventually(t, path, func(ctx) (err error) {
		text, err = os.ReadFile(path)
		if err == nil && len(bytes.TrimSpace(text)) == 0 {
			err = errors.New("it is still empty")
		}
		return err
	})
	return string(bytes.TrimSpace(text))
}

// touch makes files in a folder.
func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("go\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// isGone waits until no process has that id; a zombie counts as gone.
func isGone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d to be gone", pid), func(ctx) error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if i := bytes.LastIndexByte(stat, ')'); i >= 0 && bytes.HasPrefix(stat[i+1:], []byte(" Z")) {
			return nil
		}
		return fmt.Errorf("still there: %s", stat)
	})
}

// open opens a session over REST that is closed with the test.
func (c *cluster) open(in wire.SignIn, at ...*process) *client.Session {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	s, err := apiOf(c.t, at...).Dial(ctx, client.Component{Inbox: true, SignIn: in})
	if err != nil {
		c.t.Fatalf("open a session as %s: %v", in.Name, err)
	}
	c.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}
