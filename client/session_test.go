package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// cluster runs a cluster of one until the returned function is called.
func cluster(dir string) (addr string, stop func(), err error) {
	return open(node.Config{DataDir: dir, Worker: true, Slots: 2})
}

func open(cfg node.Config) (addr string, stop func(), err error) {
	addrs, stop, err := run(cfg)
	return addrs.Component, stop, err
}

// run runs a cluster of one until stop is called.
func run(cfg node.Config) (addrs node.Addrs, stop func(), err error) {
	cfg.ID, cfg.Logger = "n1", slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	n, err := node.Open(ctx, cfg)
	if err != nil {
		cancel()
		return addrs, nil, err
	}
	ran := make(chan error, 1)
	go func() { ran <- n.Run(ctx) }()
	for !n.Ready() {
		time.Sleep(5 * time.Millisecond)
	}
	return n.Addrs(), func() {
		cancel()
		<-ran
		end, done := context.WithTimeout(context.Background(), time.Minute)
		defer done()
		if err := n.Close(end); err != nil {
			fmt.Fprintln(os.Stderr, "close:", err)
		}
	}, nil
}

func started(t *testing.T) string {
	t.Helper()
	addr, stop, err := cluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addr
}

func component(t *testing.T, name string, c client.Component) *client.Session {
	t.Helper()
	c.SignIn.Name = name
	n, err := client.Dial(t.Context(), c)
	if err != nil {
		t.Fatalf("sign in %s: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = n.Close(ctx)
	})
	return n
}

// Every send has its outcome, every call its answer.
func TestSessionOutcomes(t *testing.T) {
	addr := started(t)
	laser := component(t, "laser", client.Component{Addrs: []string{addr}, Inbox: true, Methods: map[string]client.Method{
		"add": func(_ context.Context, r *client.Request) (any, error) {
			var in struct{ A, B int }
			if err := r.Decode(&in); err != nil {
				return nil, err
			}
			return in.A + in.B, nil
		},
		"fail": func(context.Context, *client.Request) (any, error) {
			return nil, &client.RPCError{Code: 17, Message: "no light"}
		},
	}})
	gui := component(t, "gui", client.Component{Addrs: []string{addr}})
	ctx := t.Context()
	if err := gui.Send(ctx, wire.Message{To: "laser", Payload: [][]byte{[]byte("on")}}); err != nil {
		t.Fatalf("send: %v", err)
	}
	if m := <-laser.Messages(); m.From != "n1.gui" || string(m.Payload[0]) != "on" {
		t.Errorf("got %+v", m)
	}
	if err := gui.Send(ctx, wire.Message{To: "nobody", Payload: [][]byte{{1}}}); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("a send to nobody: %v", err)
	}
	var sum int
	if err := gui.Call(ctx, "laser", "add", map[string]int{"a": 2, "b": 3}, &sum); err != nil || sum != 5 {
		t.Errorf("2 + 3 is %d, %v", sum, err)
	}
	var rpc *client.RPCError
	if err := gui.Call(ctx, "laser", "fail", nil, nil); !errors.As(err, &rpc) || rpc.Code != 17 {
		t.Errorf("a failing method: %v", err)
	}
	if err := gui.Call(ctx, "laser", "add", "wrong", nil); !errors.As(err, &rpc) || rpc.Code != -32602 {
		t.Errorf("wrong params: %v", err)
	}
	if err := laser.Call(ctx, "gui", "add", nil, nil); !errors.As(err, &rpc) || rpc.Code != -32601 {
		t.Errorf("a method that is not there: %v", err)
	}
	if err := gui.Call(ctx, "nobody", "add", nil, nil); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("a call to nobody: %v", err)
	}
	if err := gui.Coordinator(ctx, "dance", nil, nil); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("a method COORDINATOR does not have: %v", err)
	}
	long := make([]byte, 3<<20)
	go func() { _ = gui.Send(ctx, wire.Message{To: "laser", Payload: [][]byte{long}}) }()
	if m := <-laser.Messages(); len(m.Payload[0]) != len(long) {
		t.Errorf("a long message came with %d bytes", len(m.Payload[0]))
	}
	const n = 5000
	var wg sync.WaitGroup
	wg.Add(n)
	go func() {
		for range n {
			<-laser.Messages()
		}
	}()
	var mu sync.Mutex
	failed := 0
	for range n {
		err := gui.Post(ctx, wire.Message{To: "laser", Payload: [][]byte{{1}}}, func(err error) {
			if err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
				if wire.CodeOf(err) != wire.CodeBusy {
					t.Errorf("post: %v", err)
				}
			}
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for range failed { // so that the reader above ends
		_ = gui.Send(ctx, wire.Message{To: "laser", Payload: [][]byte{{1}}})
	}
	if _, err := client.Dial(ctx, client.Component{Addrs: []string{addr}, SignIn: wire.SignIn{Name: "gui"}}); wire.CodeOf(err) != wire.CodeNameTaken {
		t.Errorf("a taken name: %v", err)
	}
}

// The directory and its news; what is left is closed.
func TestSessionDirectory(t *testing.T) {
	addr := started(t)
	gui := component(t, "gui", client.Component{Addrs: []string{addr}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	news, err := gui.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	laser := component(t, "laser", client.Component{Addrs: []string{addr}, SignIn: wire.SignIn{Labels: map[string]string{"room": "7"}}})
	if c, err := gui.Lookup(ctx, "laser"); err != nil || c.FullName != "n1.laser" || c.Kind != "native" {
		t.Errorf("looked up %+v, %v", c, err)
	}
	if _, err := gui.Lookup(ctx, "nobody"); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("nobody was looked up: %v", err)
	}
	for c, err := range gui.Components(ctx, client.Directory{Labels: map[string]string{"room": "7"}}) {
		if err != nil || c.FullName != "n1.laser" {
			t.Errorf("in room 7 is %+v, %v", c, err)
		}
	}
	if err := laser.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	want := []string{"signed_in", "signed_out"}
	for e, err := range news {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != "n1.laser" {
			continue
		}
		if e.Kind != want[0] {
			t.Fatalf("news %s, want %s", e.Kind, want[0])
		}
		var c wire.Component
		if raw, ok := e.Data.(json.RawMessage); !ok || json.Unmarshal(raw, &c) != nil || c.FullName != "n1.laser" {
			t.Errorf("the row of %s is %s", e.Kind, e.Data)
		}
		if want = want[1:]; len(want) == 0 {
			break
		}
	}
}

// faultyProxy is a TCP proxy that can be cut or made silent.
type faultyProxy struct {
	l  net.Listener
	to string

	mu     sync.Mutex
	conns  []proxiedConn
	silent bool
	rate   int // bytes a second that pass to the coordinator; 0: all that come
	wg     sync.WaitGroup
	gate   sync.RWMutex // locked: nothing is read
}

// proxiedConn is one connection through the wall.
type proxiedConn struct {
	in, out net.Conn      // to the client, to the coordinator
	ended   chan struct{} // closed when the coordinator has closed its side
}

func newFaultyProxy(t *testing.T, to string) *faultyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &faultyProxy{l: l, to: to}
	w.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			to := w.to
			w.mu.Unlock()
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			c := proxiedConn{in, out, make(chan struct{})}
			w.conns = append(w.conns, c)
			rate := w.rate
			w.mu.Unlock()
			if rate > 0 {
				_ = in.(*net.TCPConn).SetReadBuffer(32 << 10)
			}
			w.wg.Go(func() { w.pass(c, rate) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		w.wg.Wait()
	})
	return w
}

// pass carries both ways until both sides have closed.
func (w *faultyProxy) pass(c proxiedConn, rate int) {
	defer c.in.Close()
	defer c.out.Close()
	var up sync.WaitGroup
	up.Go(func() { w.copy(c.out, c.in, rate) })
	w.copy(c.in, c.out, 0)
	_, _ = io.Copy(io.Discard, c.out) // the client may have closed first
	close(c.ended)
	up.Wait()
}

func (w *faultyProxy) copy(to, from net.Conn, rate int) {
	defer func() { _ = to.(*net.TCPConn).CloseWrite() }()
	buf := make([]byte, 32<<10)
	for {
		w.passes()
		n, err := from.Read(buf)
		if rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		}
		w.mu.Lock()
		silent := w.silent
		w.mu.Unlock()
		if silent {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// passes waits while the gate is locked.
func (w *faultyProxy) passes() {
	w.gate.RLock()
	defer w.gate.RUnlock()
}

// cut ends all connections at both sides and returns when the coordinator has
// ended its own: a message it takes from now on is on none of them, where it
// would be lost, as it may when a connection breaks.
func (w *faultyProxy) cut() {
	w.mu.Lock()
	conns := w.conns
	w.conns = nil
	w.mu.Unlock()
	for _, c := range conns {
		c.in.Close() // its copy closes the coordinator's side for writing
		<-c.ended
	}
}

func (w *faultyProxy) redirect(to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
}

// slow bounds what passes to the coordinator on later connections.
func (w *faultyProxy) slow(rate int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rate = rate
}

func (w *faultyProxy) silence(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = silent
}

// A lost connection is made anew within the lease: the session goes on, what was under way is unknown, mail is kept and
// news have no gap.
func TestSessionResume(t *testing.T) {
	addr := started(t)
	w := newFaultyProxy(t, addr)
	gui := component(t, "gui", client.Component{Addrs: []string{addr}})
	asked, answer := make(chan string, 2), make(chan struct{})
	laser := component(t, "laser", client.Component{Addrs: []string{w.l.Addr().String()}, Inbox: true, Methods: map[string]client.Method{
		"slow": func(ctx context.Context, _ *client.Request) (any, error) {
			asked <- "slow"
			<-answer
			return nil, ctx.Err()
		},
	}})
	life := laser.Context()
	component(t, "stage", client.Component{Addrs: []string{addr}, Methods: map[string]client.Method{
		"wait": func(context.Context, *client.Request) (any, error) { asked <- "wait"; <-answer; return nil, nil },
	}})
	before := laser.Welcome()
	waits := make(chan error, 1)
	go func() { waits <- laser.Call(t.Context(), "stage", "wait", nil, nil) }()
	called := make(chan error, 1)
	go func() { called <- gui.Call(t.Context(), "laser", "slow", nil, nil) }()
	<-asked // both calls are under way: one that has not left yet goes over the next connection
	<-asked
	w.cut()
	if err := <-waits; wire.CodeOf(err) != wire.CodeUnknown || !strings.Contains(err.Error(), "connection") {
		t.Errorf("a call that was under way ended with %v, want unknown for the lost connection", err)
	}
	for i := range 100 {
		if err := gui.Send(t.Context(), wire.Message{To: "laser", Payload: [][]byte{{byte(i)}}}); err != nil {
			t.Fatalf("send %d while the receiver is away: %v", i, err)
		}
	}
	for i := range 100 {
		if m := <-laser.Messages(); int(m.Payload[0][0]) != i {
			t.Errorf("message %d came at place %d", m.Payload[0][0], i)
			break
		}
	}
	close(answer)
	if err := <-called; err != nil {
		t.Errorf("the answer to a call from before: %v", err)
	}
	after := laser.Welcome()
	if after.Session != before.Session || !after.Resumed || life.Err() != nil {
		t.Errorf("resumed as %+v, before %+v, life %v", after, before, life.Err())
	}
}

// A silent connection is left for another door within the lease; no pong comes, so it cannot be trusted.
func TestSessionSilentLink(t *testing.T) {
	w := newFaultyProxy(t, started(t))
	c := client.Component{Addrs: []string{w.l.Addr().String()}, Ping: time.Second}
	c.SignIn.Lease = wire.Duration(6 * time.Second)
	laser := component(t, "laser", c)
	life, before := laser.Context(), laser.Welcome()
	w.silence(true)
	for end := time.Now().Add(time.Minute); !laser.Welcome().Resumed; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a silent way was not left for another")
		}
	}
	if laser.Welcome().Session != before.Session || life.Err() != nil {
		t.Errorf("it came back as %+v, life %v", laser.Welcome(), context.Cause(life))
	}
}

// While a component sends a long message over a slow link, its pings wait behind it. The connection lives: bytes move.
func TestSessionSlowLink(t *testing.T) {
	t.Parallel()
	addr := started(t)
	w := newFaultyProxy(t, addr)
	w.slow(64 << 10)
	c := client.Component{Addrs: []string{w.l.Addr().String()}, Ping: time.Second}
	c.SignIn.Lease = wire.Duration(15 * time.Second) // less than the message takes
	gui := component(t, "gui", c)
	laser := component(t, "laser", client.Component{Addrs: []string{addr}, Inbox: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := gui.Send(ctx, wire.Message{To: "laser", Payload: [][]byte{make([]byte, 1<<20)}}); err != nil {
		t.Fatalf("1 MiB over a slow link: %v", err)
	}
	if m := <-laser.Messages(); len(m.Payload[0]) != 1<<20 {
		t.Errorf("%d bytes came", len(m.Payload[0]))
	}
	if gui.Welcome().Resumed {
		t.Error("the connection was given up meanwhile")
	}
}

// A component that hears of nobody stops before its lease can have ended, and says so.
func TestSessionLostLease(t *testing.T) {
	addr, stop, err := cluster(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := client.Component{Addrs: []string{addr}, Ping: time.Second}
	c.SignIn.Lease = wire.Duration(10 * time.Second) // it stops a tenth of that before the end: a busy machine may need it
	laser := component(t, "laser", c)
	life := laser.Context()
	stop()
	stopped := time.Now()
	select {
	case <-life.Done():
		if d := time.Since(stopped); d > 10*time.Second {
			t.Errorf("it stopped %v after the last sign of life, the lease is 10 s", d)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it did not stop")
	}
	<-laser.Done()
	if err := laser.Err(); !errors.Is(err, client.ErrLost) {
		t.Errorf("it is over with %v, want ErrLost", err)
	}
	if err := laser.Send(t.Context(), wire.Message{To: "laser", Payload: [][]byte{{1}}}); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("a send after the end: %v", err)
	}
}

// With Rejoin a session that was ended by its lease is followed by a new one under the same name.
func TestSessionRejoin(t *testing.T) {
	dir := t.TempDir()
	addr, stop, err := cluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newFaultyProxy(t, addr)
	c := client.Component{Addrs: []string{w.l.Addr().String()}, Ping: time.Second, Rejoin: true}
	c.SignIn.Lease = wire.Duration(3 * time.Second)
	laser := component(t, "laser", c)
	life := laser.Context()
	stop()
	<-life.Done()
	addr, stop, err = cluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	w.redirect(addr)
	for end := time.Now().Add(time.Minute); laser.Context().Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not sign in anew")
		}
	}
	if err := laser.Send(t.Context(), wire.Message{To: "laser", Payload: [][]byte{{1}}}); err != nil {
		t.Errorf("a send in the new life: %v", err)
	}
}

// Over TLS and with a token all is the same; without either nobody gets in.
func TestSessionOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca, err := authority.New("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := certfile.In(dir)
	err = files.Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const token = "a token of thirty-two bytes or more"
	if err := os.WriteFile(filepath.Join(dir, "tokens"), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, stop, err := open(node.Config{DataDir: filepath.Join(dir, "data"), HTTPCert: files.Cert, HTTPKey: files.Key, TokenFile: filepath.Join(dir, "tokens")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	trust := &tls.Config{InsecureSkipVerify: true} // the certificate names a member, not a host
	c := client.Component{Addrs: []string{addr}, TLS: trust, Token: token, Inbox: true}
	gui := component(t, "gui", c)
	long := make([]byte, 300_000)
	if err := gui.Send(t.Context(), wire.Message{To: "gui", Payload: [][]byte{long}}); err != nil {
		t.Errorf("send: %v", err)
	}
	if m := <-gui.Messages(); len(m.Payload[0]) != len(long) {
		t.Errorf("%d bytes came", len(m.Payload[0]))
	}
	c.SignIn.Name, c.Token = "laser", "another"
	if _, err := client.Dial(t.Context(), c); wire.CodeOf(err) != wire.CodeUnauthorized {
		t.Errorf("a wrong token: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c.TLS, c.Token = nil, token // it cannot know who closed the connection
	if _, err := client.Dial(ctx, c); wire.CodeOf(err) != wire.CodeUnknown {
		t.Errorf("without TLS: %v, want unknown", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c.TLS = &tls.Config{ServerName: "n1"}
	if _, err := client.Dial(ctx, c); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("with a certificate that is not trusted: %v, want unavailable", err)
	}
}

// Who sends writes to the socket itself. What it does not take leaves later, whole and once.
func TestSendersWriteThemselves(t *testing.T) {
	const senders, size = 600, 15_000 // 9 MB; the sockets hold less
	addr := started(t)
	w := newFaultyProxy(t, addr)
	component(t, "sink", client.Component{Addrs: []string{addr}, Inbox: true})
	gui := component(t, "gui", client.Component{Addrs: []string{w.l.Addr().String()}})
	if err := gui.Send(t.Context(), wire.Message{To: "sink", Payload: [][]byte{{1}}}); err != nil {
		t.Fatal(err)
	}
	w.gate.Lock()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			err := gui.Send(t.Context(), wire.Message{To: "sink", Payload: [][]byte{make([]byte, size)}})
			if err != nil && wire.CodeOf(err) != wire.CodeBusy { // nobody reads the sink's
				t.Error(err)
			}
		})
		time.Sleep(50 * time.Microsecond) // one after the other, or one would find another at it
	}
	w.gate.Unlock()
	wg.Wait()
}
