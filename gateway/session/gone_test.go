package session_test

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/hangup"
)

// A session whose process is gone gives its name up soon, not when its lease ends;
// that of a client that may live keeps it.
func TestAProcessThatIsGoneGivesItsNameUp(t *testing.T) {
	w := newTestCluster(t, settings{limits: session.Limits{Grace: 300 * time.Millisecond}}, "n1", "n2")
	n1 := w.nodes["n1"]
	lives := func(name string) bool {
		_, ok := n1.machine.View().Registry.Session("n1." + name)
		return ok
	}
	enter := func(name, address string) *testClient {
		g := n1.dial(t, 0)
		if address == "own" {
			address = g.conn.LocalAddr().String()
		}
		g.signIn(wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Minute)}, Address: address})
		return g
	}
	back := func(name string, at *testNode, in wire.Welcome) {
		g := at.dial(t, 0)
		g.signIn(wire.Hello{SignIn: wire.SignIn{Name: name, Namespace: "n1", Session: in.Session, Secret: in.Secret}, Address: g.conn.LocalAddr().String()})
	}
	// These live, or may.
	hangup.Abort(enter("reset", "own").conn)
	enter("unnamed", "").conn.Close()
	enter("proxied", "127.0.0.1:1").conn.Close()
	bye := enter("bye", "own")
	bye.write(wire.AppendBye(nil, wire.NotTried("the client stops")))
	bye.bye()
	bye.conn.Close()
	resumed := enter("resumed", "own")
	resumed.conn.Close()
	back("resumed", n1, resumed.welcome)
	moved := enter("moved", "own")
	moved.conn.Close()
	back("moved", w.nodes["n2"], moved.welcome)
	twice := enter("twice", "own")
	back("twice", n1, twice.welcome)
	twice.conn.Close()
	// These are gone, the last in the middle of a frame.
	enter("gone", "own").conn.Close()
	half := enter("half", "own")
	half.write([]byte{0, 0, 1})
	_ = half.conn.(*net.TCPConn).CloseWrite()
	for _, name := range []string{"gone", "half"} {
		for end := time.Now().Add(30 * time.Second); lives(name); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("n1.%s has its name still, and its lease is a minute", name)
			}
		}
	}
	time.Sleep(time.Second) // three times the grace
	for _, name := range []string{"reset", "unnamed", "proxied", "bye", "resumed", "moved", "twice"} {
		if !lives(name) {
			t.Errorf("n1.%s has lost its name", name)
		}
	}
}

// fakeLine is a line whose other side has closed it.
type fakeLine struct{ left bool }

func (d *fakeLine) Left() bool                 { return d.left }
func (d *fakeLine) Write([]byte) error         { return nil }
func (d *fakeLine) WriteNow(frames []byte) int { return len(frames) }
func (d *fakeLine) Close()                     {}

// What a client asked for is not begun once it has left, be it a sign-in or a
// write of one that is signed in.
func TestWhatAClientHasLeftIsNotBegun(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	moved := w.nodes["n2"].signIn(t, "laser")
	n1 := w.nodes["n1"]
	ask := func(c *session.Conn, method string, params any) {
		t.Helper()
		m := wire.Message{To: wire.Coordinator, Conversation: [16]byte{1}, Type: wire.TypeJSON, Payload: [][]byte{requestOf(t, method, params)}}
		if err := c.Frame(&m, session.NextPending); err != nil {
			t.Fatal(err)
		}
	}
	c, refused := n1.hub.Begin(&fakeLine{left: true}, control.Credentials{Door: control.DoorNative}, session.Options{})
	if refused != nil {
		t.Fatal(refused)
	}
	ask(c, "sign_in", wire.Hello{SignIn: wire.SignIn{Name: "laser", Namespace: "n2", Session: moved.welcome.Session, Secret: moved.welcome.Secret}})
	c.Finish(nil)
	if s, _ := n1.machine.View().Registry.Session("n2.laser"); s.Home != "n2" {
		t.Errorf("a sign-in whose client had left moved its session to %s", s.Home)
	}

	line := &fakeLine{}
	if c, refused = n1.hub.Begin(line, control.Credentials{Door: control.DoorNative}, session.Options{}); refused != nil {
		t.Fatal(refused)
	}
	ask(c, "sign_in", wire.Hello{SignIn: wire.SignIn{Name: "gui"}})
	line.left = true
	ask(c, "jobs.submit", map[string]any{"id": "late", "runtime": "sh", "script": "true", "items": []json.RawMessage{[]byte("1")}})
	for end := time.Now().Add(time.Minute); !c.Ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a connection that its client has left does not end")
		}
	}
	c.Finish(nil)
	if _, ok := n1.machine.View().Jobs.Job("late"); ok {
		t.Error("a job whose client had left was handed in")
	}
}

// An attempt that resumes a session at its own home is judged by its number, too.
func TestALateAttemptAtTheOwnHome(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	first := n1.signIn(t, "laser")
	hello := func(attempt uint64) wire.Hello {
		return wire.Hello{SignIn: wire.SignIn{Name: "laser", Session: first.welcome.Session, Secret: first.welcome.Secret, Attempt: attempt}}
	}
	second := n1.dial(t, 0)
	second.signIn(hello(1)) // the next: nothing is written
	if !second.welcome.Resumed || second.welcome.Attempt != 0 {
		t.Errorf("attempt 1 was answered by %+v; want it resumed, nothing written", second.welcome)
	}
	third := n1.dial(t, 0)
	third.signIn(hello(3)) // the second may come yet
	if third.welcome.Attempt != 3 {
		t.Errorf("attempt 3 was answered by %+v; want it noted", third.welcome)
	}
	if err := n1.dial(t, 0).call("sign_in", hello(2), nil); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("attempt 2, late, was answered by %v, want conflict", err)
	}
	must(t, third.call("pong", struct{}{}, nil))
}
