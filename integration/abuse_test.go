package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// abuse is one input that ended, opened or filled something elsewhere, or could here.
type abuse struct {
	kind string // what was published about it, or whose input it is
	what string
	do   func(*attack) // throws it and judges what came back
}

// attack is a cluster under abuse: three coordinators that ask for tokens, of which n1 has
// all doors, and one without tokens on loopback, as on a laptop.
type attack struct {
	*testing.T
	c      *cluster
	n1     *process // with all doors
	laptop *process // asks for no token
	leco   string   // n1's door
	token  string   // of the operator's file: may do everything
	low    string   // of the state: may see components of a namespace that nobody has
	victim wire.SignedIn
	apis   map[*process]*client.Client // one each: their connections count too
	secret []string                    // what no log and no answer to others may hold
}

// Whatever is thrown at a port, by callers without rights and with all of them, is answered
// by a refusal, and afterwards the same processes run, under the same leader, and hold what
// they held before. Floods are storms of their own (hostile_test.go).
func TestAbuse(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	before := a.state()
	slow := a.beginSlowly()
	for port, rows := range map[string][]abuse{
		"http": httpAbuse(), "native": nativeAbuse(), "websocket": webSocketAbuse(), "peer": peerAbuse(), "ops": opsAbuse(), "leco": lecoAbuse(),
	} {
		t.Run(port, func(t *testing.T) {
			for _, row := range rows {
				t.Run(row.kind+": "+row.what, func(t *testing.T) {
					in := *a
					in.T = t
					row.do(&in)
				})
				if now := a.state(); now != before {
					t.Fatalf("after %s: %s the cluster is at %s, it was at %s", row.kind, row.what, now, before)
				}
			}
		})
	}
	slow(t)
	a.nothingIsLeft()
}

// newAttack starts the victims.
func newAttack(t *testing.T) *attack {
	t.Helper()
	a := &attack{T: t, token: operatorToken}
	// A leader that is lost here is lost by what is thrown, not by a machine that is busy.
	a.c = newCluster(t, 3, "--heartbeat-timeout", "5s", "--election-timeout", "5s")
	a.n1, a.leco = a.c.nodes[0], ports(t, 1)[0]
	a.n1.args = append(a.n1.args, "--leco-addr", a.leco)
	laptop := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	a.laptop = laptop.prepare("n9", free[0], free[1], free[2])
	for _, p := range append(a.c.nodes, a.laptop) {
		if p != a.laptop {
			p.asksForToken(a.token)
		}
		p.start()
	}
	a.c.waitHealthy(3)
	laptop.waitHealthy(1)
	a.victim = a.c.signIn(a.n1, "victim", 10*time.Minute)
	a.secret = []string{a.token, a.victim.Secret}
	a.apis = map[*process]*client.Client{}
	for _, p := range append(a.c.nodes, a.laptop) {
		a.apis[p], p.before = p.api(), p.use()
	}
	if _, _, err := a.apis[a.n1].RaiseLevel(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	low, meta, err := a.apis[a.n1].CreateToken(t.Context(), wire.NewToken{Grants: []string{"components:read@nowhere"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.c.nodes { // all know it
		if _, _, err := a.apis[p].Namespaces(t.Context(), client.Read{Index: meta.Index}); err != nil {
			t.Fatal(err)
		}
	}
	a.low, a.secret = low.Token, append(a.secret, low.Token)
	return a
}

// state is what no abuse may change.
func (a *attack) state() (s string) {
	a.Helper()
	for _, p := range append(a.c.nodes, a.laptop) {
		if !p.running() {
			a.Fatalf("%s has ended\n%s", p.name, p.tail())
		}
		l, _, err := a.apis[p].Leader(a.Context())
		if err != nil {
			a.Fatalf("%s has no leader: %v\n%s", p.name, err, p.tail())
		}
		s += fmt.Sprintf("%s: %d under %s in term %d; ", p.name, p.cmd.Process.Pid, l.ID, l.Term)
	}
	return s
}

// nothingIsLeft waits until no process holds more than before, and looks for secrets in what
// they said, and for names that no sign-in was granted.
func (a *attack) nothingIsLeft() {
	a.Helper()
	for _, p := range append(a.c.nodes, a.laptop) {
		p.holdsWhatItHeld(10, 25)
		for _, secret := range a.secret {
			if strings.Contains(p.log.String(), secret) {
				a.Errorf("%s has logged a secret: %s", p.name, around(p.log.String(), secret))
			}
		}
		list, _, err := a.apis[p].Components(a.Context(), client.Components{Read: client.Read{Consistency: "strict"}})
		for _, in := range list.Components {
			if in.FullName != a.victim.FullName && !strings.Contains(in.Name, "allowed") {
				a.Errorf("%s is signed in at %s", in.FullName, p.name)
			}
		}
		if err != nil {
			a.Errorf("components at %s: %v", p.name, err)
		}
	}
	a.c.agree()
}

// dial opens a connection that is closed with the row.
func (a *attack) dial(addr string) net.Conn {
	a.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		a.Fatalf("dial %s: %v", addr, err)
	}
	a.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// throws writes bytes at a port and returns what comes back until the other side closes. halt
// closes the own half first, as a client that is done.
func (a *attack) throws(addr, text string, halt bool) string {
	a.Helper()
	conn := a.dial(addr)
	_, _ = io.WriteString(conn, text) // it may be closed already
	if halt {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	var answer bytes.Buffer
	_, err := io.Copy(&answer, io.LimitReader(conn, 4<<20))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.Errorf("the connection is still open, after %.200q", answer.String())
	}
	a.tells(answer.String())
	return answer.String()
}

// hears reads until some words came.
func (a *attack) hears(conn net.Conn, words string) {
	a.Helper()
	var got []byte
	for b := make([]byte, 4096); !strings.Contains(string(got), words); {
		n, err := conn.Read(b)
		if got = append(got, b[:n]...); err != nil {
			a.Errorf("%q was not heard, but %.400q, %v", words, got, err)
			return
		}
	}
}

// tells fails the row if an answer holds somebody's secret or the trace of a fault.
func (a *attack) tells(answer string) {
	a.Helper()
	for _, s := range append(a.secret, "[running]", "runtime error", "internal fault") {
		if strings.Contains(answer, s) {
			a.Errorf("the answer holds %q: %.500q", s, answer)
		}
	}
}

// beginSlowly opens connections at every port that say only the beginning of what is spoken
// there, or a byte now and then. What it returns checks that all were ended.
func (a *attack) beginSlowly() (check func(*testing.T)) {
	ctx, stop := context.WithCancel(a.Context())
	ended := map[string]chan error{}
	for what, s := range map[string]struct{ addr, say string }{
		"silence on http": {a.n1.http, ""}, "half a header on http": {a.n1.http, "GET /v1/status HTTP/1.1\r\nX-Slow: "},
		"silence on ops": {a.n1.ops, ""}, "half a header on ops": {a.n1.ops, "GET /livez HTTP/1.1\r\nX-Slow: "},
		"silence on native": {a.n1.component, ""}, "half a preamble on native": {a.n1.component, "FOLK"},
		"a preamble on native": {a.n1.component, "FOLK\x01\x02\x00\x00"}, "half a frame on native": {a.n1.component, "FOLK\x01\x02\x00\x00\x00\x00\x0f\x00\x01"},
		"silence on peer": {a.n1.peer, ""}, "half a hello on peer": {a.n1.peer, "C\x00\x00\x01\x00{"},
		"silence on leco": {a.leco, ""}, "half a greeting on leco": {a.leco, "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03"},
	} {
		conn, err := net.DialTimeout("tcp", s.addr, patience)
		if err != nil {
			a.Fatalf("%s: %v", what, err)
		}
		done := make(chan error, 1)
		ended[what] = done
		go func() { // a byte now and then: the time is for the whole, not since the last byte
			defer conn.Close()
			_, _ = io.WriteString(conn, s.say)
			tick := time.NewTicker(300 * time.Millisecond)
			defer tick.Stop()
			over := make(chan error, 1)
			go func() { _, err := io.Copy(io.Discard, conn); over <- err }()
			for {
				select {
				case err := <-over:
					done <- err
					return
				case <-tick.C:
					if s.say != "" {
						_, _ = conn.Write([]byte{'a'})
					}
				case <-ctx.Done():
					conn.Close()
					<-over
					done <- errors.New("it is still open")
					return
				}
			}
		}()
	}
	return func(t *testing.T) {
		t.Helper()
		late := time.AfterFunc(patience, stop)
		defer late.Stop()
		defer stop()
		for what, done := range ended {
			if err := <-done; ctx.Err() != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
