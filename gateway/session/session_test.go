package session_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

func text(to, s string, id uint32) wire.Message {
	return wire.Message{To: to, ID: id, Conversation: [16]byte{9, byte(id)}, Type: 200, Payload: [][]byte{[]byte(s)}}
}

// Two components at two coordinators talk; plain names are completed and the
// sender is filled in.
func TestMessagesAcrossCoordinators(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	gui, laser := w.nodes["n1"].signIn(t, "gui"), w.nodes["n2"].signIn(t, "laser")
	for i := range 500 {
		gui.send(text("n2.laser", fmt.Sprint(i), 0))
	}
	for i := range 500 {
		m := laser.message()
		if m.From != "n1.gui" || m.To != "n2.laser" || string(m.Payload[0]) != fmt.Sprint(i) {
			t.Fatalf("message %d: got %q from %s to %s", i, m.Payload[0], m.From, m.To)
		}
	}
	laser.send(wire.Message{To: "n1.gui", From: "n2.laser", Conversation: [16]byte{7}, Payload: [][]byte{{1}, {}, {2, 3}}})
	if m := gui.message(); m.Conversation != [16]byte{7} || len(m.Payload) != 3 || !bytes.Equal(m.Payload[2], []byte{2, 3}) {
		t.Errorf("the answer came as %+v", m)
	}
	stage := w.nodes["n1"].signIn(t, "stage")
	stage.send(text("gui", "home", 0))
	if m := gui.message(); m.From != "n1.stage" || m.To != "n1.gui" {
		t.Errorf("a plain name was completed to %s, from %s", m.To, m.From)
	}
}

// A receipt names what was delivered, an error message what was not.
func TestOutcomes(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	gui, laser := w.nodes["n1"].signIn(t, "gui"), w.nodes["n2"].signIn(t, "laser")
	for id := uint32(1); id <= 100; id++ {
		gui.send(text("n2.laser", "x", id))
	}
	got := map[uint32]bool{}
	for len(got) < 100 {
		m, err := gui.next()
		must(t, err)
		if m.To != "" || m.Type != wire.TypeReceipt {
			t.Fatalf("got %+v, want receipts", m)
		}
		for b := m.Payload[0]; len(b) > 0; b = b[3:] {
			id := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
			if got[id] {
				t.Errorf("two receipts for %d", id)
			}
			got[id] = true
		}
	}
	for range 100 {
		laser.message()
	}

	gui.send(text("n2.nobody", "x", 7))
	m := gui.message()
	a := decodeReply(t, m)
	if m.Conversation != [16]byte{9, 7} || m.ID != 7 || m.From != "n1.COORDINATOR" || a.Error == nil || a.Error.Code != -32093 || a.code() != wire.CodeNotFound {
		t.Errorf("the report on a message to nobody is %+v %+v", m, a)
	}
	forged := text("n2.laser", "x", 8)
	forged.From = "n2.laser"
	gui.send(forged)
	if m = gui.message(); m.ID != 8 || decodeReply(t, m).code() != wire.CodeForbidden {
		t.Errorf("a forged sender was answered by %+v", m)
	}
	gui.send(text("a.b.c", "x", 9))
	if m = gui.message(); m.ID != 9 || decodeReply(t, m).code() != wire.CodeInvalid {
		t.Errorf("a wrong name was answered by %+v", m)
	}
	if n := w.nodes["n1"].hub.Counts()["forged"]; n != 1 {
		t.Errorf("%d forged senders counted, want 1", n)
	}
}

// A receiver that does not read fills its mailbox: its senders get busy,
// others are not held up, and it is cut off and keeps its mail.
func TestSlowConsumer(t *testing.T) {
	s := settings{}
	s.limits.Write = 500 * time.Millisecond
	w := newTestCluster(t, s, "n1")
	n1 := w.nodes["n1"]
	slow, other, gui := n1.signIn(t, "slow"), n1.signIn(t, "other"), n1.signIn(t, "gui")
	body := string(make([]byte, 32<<10))
	busy, sent := 0, uint32(0)
	for end := time.Now().Add(time.Minute); busy == 0 && time.Now().Before(end); {
		for range 100 {
			sent++
			gui.send(text("slow", body, sent))
		}
		for left := 100; left > 0; {
			m, err := gui.next()
			must(t, err)
			if m.To == "" {
				left -= len(m.Payload[0]) / 3
				continue
			}
			if code := decodeReply(t, m).code(); code != wire.CodeBusy {
				t.Fatalf("a full mailbox was reported as %q", code)
			}
			busy++
			left--
		}
	}
	if busy == 0 {
		t.Fatal("no sender learned that the mailbox is full")
	}
	gui.send(text("other", "hello", 0))
	if m := other.message(); string(m.Payload[0]) != "hello" {
		t.Errorf("another receiver got %q", m.Payload[0])
	}
	for end := time.Now().Add(time.Minute); n1.hub.Counts()["slow"] == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the slow reader was not cut off")
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		last, was := n1.hub.LastCutOff()
		if was && last.Name == "n1.slow" && last.Remote != "" && time.Since(last.At) < time.Minute {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the last cut off is %+v, %v, want n1.slow, its address, now", last, was)
		}
	}
	again := n1.dial(t, 0)
	again.signIn(wire.Hello{SignIn: wire.SignIn{Name: "slow", Session: slow.welcome.Session, Secret: slow.welcome.Secret}})
	if !again.welcome.Resumed {
		t.Error("the session was not resumed at its home")
	}
	for range 300 {
		if m := again.message(); len(m.Payload[0]) != len(body) {
			t.Fatalf("got %d bytes", len(m.Payload[0]))
		}
	}
}

// A long message does not hold up short ones of others, but those of the same
// sender come after it.
func TestLongMessage(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	gui, pump, laser := w.nodes["n1"].signIn(t, "gui"), w.nodes["n1"].signIn(t, "pump"), w.nodes["n2"].signIn(t, "laser")
	long := make([]byte, 12<<20) // below what a mailbox holds, so that nothing is refused
	for i := range long {
		long[i] = byte(i * 7)
	}
	m := wire.Message{To: "n2.laser", Conversation: [16]byte{1}, Payload: [][]byte{[]byte("head"), long, []byte("tail")}}
	frame, err := wire.AppendFrame(nil, &m)
	must(t, err)
	go func() {
		for at := 0; at < len(frame); {
			var b []byte
			b, at = wire.AppendChunk(nil, 3, frame, at)
			if _, err := gui.conn.Write(b); err != nil {
				return
			}
		}
		b, _ := wire.AppendFrame(nil, &wire.Message{To: "n2.laser", Conversation: [16]byte{2}, Payload: [][]byte{{2}}})
		_, _ = gui.conn.Write(b)
	}()
	for i := range 50 {
		pump.send(text("n2.laser", "short", uint32(i)))
	}
	short, before := 0, 0
	for seen := 0; seen < 2; {
		m := laser.message()
		switch m.From {
		case "n1.pump":
			short++
			if seen == 0 {
				before++
			}
		case "n1.gui":
			if m.Conversation[0] != byte(seen+1) {
				t.Fatalf("message %d of gui came at place %d", m.Conversation[0], seen+1)
			}
			if seen == 0 && (!bytes.Equal(m.Payload[1], long) || string(m.Payload[2]) != "tail") {
				t.Error("the long message came damaged")
			}
			seen++
		}
	}
	if before == 0 {
		t.Error("no short message came before the end of the long one")
	}
}

// Before the sign-in nothing is heard; a taken name and a wrong token are
// refused, and the connection may try again.
func TestSignIn(t *testing.T) {
	s := settings{tokens: []string{"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"}} // of "secret"
	w := newTestCluster(t, s, "n1")
	n1 := w.nodes["n1"]
	g := n1.dial(t, 0)
	g.send(text("n1.laser", "x", 5))
	if m := g.message(); m.ID != 5 || m.Conversation != [16]byte{9, 5} || decodeReply(t, m).Error.Code != -32090 {
		t.Errorf("a message before the sign-in was answered by %+v", m)
	}
	if err := g.call("sign_in", wire.Hello{SignIn: wire.SignIn{Name: "gui"}, Token: "wrong"}, nil); wire.CodeOf(err) != wire.CodeUnauthorized {
		t.Errorf("a wrong token: %v", err)
	}
	if err := g.call("sign_in", map[string]any{"name": "gui", "token": "secret", "colour": "red"}, nil); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("an unknown member: %v", err)
	}
	g.signIn(wire.Hello{SignIn: wire.SignIn{Name: "gui"}, Token: "secret"})
	if in := g.welcome; in.FullName != "n1.gui" || in.Home != "n1" || in.Resumed || len(in.Coordinators) != 1 || in.Coordinators[0].Address != n1.addr || time.Duration(in.Lease) != wire.DefaultLease {
		t.Errorf("the welcome is %+v", in)
	}
	second := n1.dial(t, 0)
	if err := second.call("sign_in", wire.Hello{SignIn: wire.SignIn{Name: "gui"}, Token: "secret"}, nil); wire.CodeOf(err) != wire.CodeNameTaken {
		t.Errorf("a taken name: %v", err)
	}
	if err := g.call("sign_in", wire.Hello{SignIn: wire.SignIn{Name: "gui"}, Token: "secret"}, nil); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("a second sign-in on one connection: %v", err)
	}
	must(t, g.call("sign_out", struct{}{}, nil))
	if err := g.call("pong", struct{}{}, nil); err == nil {
		t.Error("a method was answered after the sign-out")
	}
	second.signIn(wire.Hello{SignIn: wire.SignIn{Name: "gui"}, Token: "secret"})
	g.signIn(wire.Hello{SignIn: wire.SignIn{Name: "other"}, Token: "secret"})
	g.send(text("gui", "again", 0))
	if m := second.message(); string(m.Payload[0]) != "again" || m.From != "n1.other" {
		t.Errorf("after a second life the message came as %+v", m)
	}
}

// A session moves to another coordinator, and its old connection gets a bye.
func TestTakeOver(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	old := w.nodes["n1"].signIn(t, "laser")
	gui := w.nodes["n1"].signIn(t, "gui")
	moved := w.nodes["n2"].dial(t, 0)
	moved.signIn(wire.Hello{SignIn: wire.SignIn{Name: "laser", Namespace: "n1", Session: old.welcome.Session, Secret: old.welcome.Secret}})
	if in := moved.welcome; in.FullName != "n1.laser" || in.Home != "n2" || in.Resumed {
		t.Errorf("taken over as %+v", in)
	}
	if why := old.bye(); why.Code != wire.CodeConflict {
		t.Errorf("the old connection got %+v, want conflict", why)
	}
	gui.send(text("laser", "where are you", 1))
	if m := moved.message(); string(m.Payload[0]) != "where are you" {
		t.Errorf("got %+v", m)
	}
	// The same session by a second connection at the same home.
	second := w.nodes["n2"].dial(t, 0)
	second.signIn(wire.Hello{SignIn: wire.SignIn{Name: "laser", Namespace: "n1", Session: old.welcome.Session, Secret: old.welcome.Secret}})
	if why := moved.bye(); why.Code != wire.CodeConflict || !second.welcome.Resumed {
		t.Errorf("the first connection got %+v, the second %+v", why, second.welcome)
	}
	w.apply(t, registry.KindRemove, registry.Remove{FullName: "n1.laser", Reason: "removed by an operator"})
	if why := second.bye(); why.Code != wire.CodeNotFound {
		t.Errorf("a removed session got %+v, want not_found", why)
	}
}

// A dead peer is noticed after three pings, its session ends with its lease.
func TestDeadPeer(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	g := n1.dial(t, time.Second)
	g.signIn(wire.Hello{SignIn: wire.SignIn{Name: "laser", Lease: wire.Duration(4 * time.Second)}})
	start := time.Now()
	for range 3 { // pings keep it alive
		time.Sleep(900 * time.Millisecond)
		g.write(wire.AppendControlFrame(nil, wire.TypePing, []byte("now")))
		if m, err := g.next(); err != nil || m.Type != wire.TypePong || string(m.Payload[0]) != "now" {
			t.Fatalf("a ping was answered by %+v, %v", m, err)
		}
	}
	silent := time.Now()
	g.bye()
	if d := time.Since(silent); d < 2*time.Second || d > time.Minute {
		t.Errorf("a silent connection was closed after %v, want about 3 s", d)
	}
	for n1.machine.View().Registry.Len() > 0 {
		if time.Since(start) > 2*time.Minute {
			t.Fatal("the session did not end")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if d := time.Since(silent); d < 3500*time.Millisecond {
		t.Errorf("the session ended %v after its last sign of life, before its lease of 4 s", d)
	}
}

// News of the directory come in order behind the answer to subscribe.
func TestSubscribedEvents(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1", "n2")
	gui := w.nodes["n1"].signIn(t, "gui")
	var at struct{ At string }
	must(t, gui.call("subscribe", map[string]any{"topics": []string{"component"}}, &at))
	laser := w.nodes["n2"].signIn(t, "laser")
	must(t, laser.call("sign_out", struct{}{}, nil))
	for _, want := range []string{"signed_in", "signed_out"} {
		m := gui.message()
		a := decodeReply(t, m)
		var e wire.Event
		must(t, unmarshal(a.Params, &e))
		if a.Method != "event" || e.Kind != want || e.Key != "n2.laser" || m.Conversation != [16]byte{1, 14: 0, 15: 2} {
			t.Errorf("got %s %+v, want %s of n2.laser", a.Method, e, want)
		}
	}
	var list struct {
		Components []wire.Component
		Index      uint64
	}
	must(t, gui.call("components", map[string]any{"prefix": "n1."}, &list))
	if len(list.Components) != 1 || list.Components[0].FullName != "n1.gui" || list.Components[0].Kind != "native" || list.Index == 0 {
		t.Errorf("the list is %+v", list)
	}
	var one wire.Component
	must(t, gui.call("lookup", map[string]any{"name": "gui"}, &one))
	if one.FullName != "n1.gui" {
		t.Errorf("lookup: %+v", one)
	}
	must(t, gui.call("unsubscribe", struct{}{}, nil))
	if err := gui.call("subscribe", map[string]any{"topics": []string{"weather"}}, nil); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("an unknown topic: %v", err)
	}
}

// docs/protocol.md and rpc.discover name the same methods, and each is there.
func TestMethodsAreThoseOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/protocol.md")
	must(t, err)
	_, rest, found := strings.Cut(string(doc), "## 5. Methods of COORDINATOR")
	table, _, ends := strings.Cut(rest, "**News.**")
	if !found || !ends {
		t.Fatal("docs/protocol.md has no section 5")
	}
	documented := []string{"sign_in"}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range regexp.MustCompile("`([a-z_.]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented = append(documented, name[1])
			}
		}
	}
	gui := newTestCluster(t, settings{}, "n1").nodes["n1"].signIn(t, "gui")
	var discovered struct{ Methods []struct{ Name string } }
	must(t, gui.call("rpc.discover", struct{}{}, &discovered))
	at := []string{"sign_in", "subscribe", "unsubscribe", "rpc.discover"} // the door's own, and discovery itself
	for _, m := range discovered.Methods {
		at = append(at, m.Name)
	}
	slices.Sort(documented)
	slices.Sort(at)
	if !slices.Equal(documented, at) {
		t.Errorf("documented are %v, there are %v", documented, at)
	}
	for _, name := range documented {
		if name == "sign_out" {
			continue
		}
		var refusal *wire.Error
		if err := gui.call(name, struct{}{}, nil); errors.As(err, &refusal) && strings.Contains(refusal.Message, "no method") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var names []string
	must(t, gui.call("send_local_components", struct{}{}, &names))
	var global map[string][]string
	must(t, gui.call("send_global_components", struct{}{}, &global))
	var nodes map[string]string
	must(t, gui.call("send_nodes", struct{}{}, &nodes))
	if !slices.Equal(names, []string{"gui"}) || !slices.Equal(global["n1"], names) || nodes["n1"] == "" {
		t.Errorf("the lists are %v, %v, %v", names, global, nodes)
	}
}

// Many conversations go over one connection at once, in both directions; a batch is answered as one.
func TestManyConversations(t *testing.T) {
	n1 := newTestCluster(t, settings{}, "n1").nodes["n1"]
	gui, laser := n1.signIn(t, "gui"), n1.signIn(t, "laser")
	const n = 60 // at most 64 requests to COORDINATOR wait
	for i := range byte(n) {
		gui.send(wire.Message{To: "laser", Conversation: [16]byte{2, i}, Type: wire.TypeJSON, Payload: [][]byte{requestOf(t, "measure", map[string]byte{"n": i})}})
		gui.send(wire.Message{To: "COORDINATOR", Conversation: [16]byte{3, i}, Type: wire.TypeJSON, Payload: [][]byte{requestOf(t, "lookup", map[string]string{"name": "laser"})}})
	}
	for range n { // the last one first is as good as any order
		m := laser.message()
		laser.send(wire.Message{To: m.From, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{[]byte(`{"jsonrpc":"2.0","id":1,"result":7}`)}})
	}
	answers := map[[16]byte]string{}
	for len(answers) < 2*n {
		m := gui.message()
		if _, twice := answers[m.Conversation]; twice {
			t.Fatalf("two answers in conversation %v", m.Conversation)
		}
		if a := decodeReply(t, m); a.Error != nil {
			t.Errorf("conversation %v: %+v", m.Conversation, a.Error)
		}
		answers[m.Conversation] = m.From
	}
	for i := range byte(n) {
		if answers[[16]byte{2, i}] != "n1.laser" || answers[[16]byte{3, i}] != "n1.COORDINATOR" {
			t.Errorf("conversations %d were answered by %q and %q", i, answers[[16]byte{2, i}], answers[[16]byte{3, i}])
		}
	}
	gui.send(wire.Message{To: "COORDINATOR", Conversation: [16]byte{4}, Type: wire.TypeJSON, Payload: [][]byte{[]byte(`[{"jsonrpc":"2.0","id":1,"method":"pong"},{"jsonrpc":"2.0","method":"pong"},{"jsonrpc":"2.0","id":2,"method":"dance"}]`)}})
	var batch []reply
	must(t, unmarshal(gui.message().Payload[0], &batch))
	if len(batch) != 2 || batch[0].Error != nil || batch[1].Error == nil || batch[1].Error.Code != -32601 {
		t.Errorf("a batch was answered by %+v", batch)
	}
}

// The door speaks TLS where it has a certificate, and only that.
func TestTLS(t *testing.T) {
	ca, err := authority.New("test", time.Hour)
	must(t, err)
	files := certfile.In(t.TempDir())
	err = files.Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour}, nil)
	must(t, err)
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	must(t, err)
	n1 := newTestCluster(t, settings{tls: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}, "n1").nodes["n1"]
	secure := func() net.Conn {
		conn, err := tls.Dial("tcp", n1.addr, &tls.Config{InsecureSkipVerify: true}) // the certificate names a member, not a host
		must(t, err)
		return conn
	}
	gui := n1.handshake(t, secure(), 0)
	gui.signIn(wire.Hello{SignIn: wire.SignIn{Name: "gui"}})
	gui.send(wire.Message{To: "gui", Conversation: [16]byte{1}, ID: 3, Payload: [][]byte{make([]byte, 300_000)}})
	if m := gui.message(); len(m.Payload[0]) != 300_000 {
		t.Errorf("%d bytes came", len(m.Payload[0]))
	}
	plain, err := net.Dial("tcp", n1.addr)
	must(t, err)
	defer plain.Close()
	_, err = plain.Write(wire.Preamble{Version: 1}.Append(nil))
	must(t, err)
	_ = plain.SetReadDeadline(time.Now().Add(time.Minute))
	if b, err := io.ReadAll(plain); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(b), "FOLK") {
		t.Errorf("one without TLS got %q, %v", b, err)
	}
	n1.cluster.apply(t, registry.KindRemove, registry.Remove{FullName: "n1.gui", Reason: "removed by an operator"})
	if why := gui.bye(); why.Code != wire.CodeNotFound {
		t.Errorf("the bye over TLS is %+v", why)
	}
}

// A coordinator that is out of touch with the log answers no ping, since that would
// promise a lease; the connection does not seem dead, and is sent away in time to
// go elsewhere. No new connection is let in meanwhile.
func TestOutOfTouch(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	n1 := w.nodes["n1"]
	g := n1.dial(t, 0)
	g.signIn(wire.Hello{SignIn: wire.SignIn{Name: "laser", Lease: wire.Duration(3 * time.Second)}})
	answered := func() byte {
		g.write(wire.AppendControlFrame(nil, wire.TypePing, []byte("now")))
		m, err := g.next()
		must(t, err)
		return m.Type
	}
	if kind := answered(); kind != wire.TypePong {
		t.Fatalf("in touch, a ping is answered by type %d, want a pong", kind)
	}
	w.outOfTouch("n1", true)
	if kind := answered(); kind != wire.TypePing {
		t.Errorf("out of touch, a ping is answered by type %d, want a ping", kind)
	}
	w.outOfTouch("n1", false)
	if kind := answered(); kind != wire.TypePong {
		t.Errorf("in touch again, a ping is answered by type %d, want a pong", kind)
	}
	w.outOfTouch("n1", true)
	again := n1.dial(t, 0)
	hello := wire.Hello{SignIn: wire.SignIn{Name: "laser", Session: g.welcome.Session, Secret: g.welcome.Secret}}
	if err := again.call("sign_in", hello, nil); wire.CodeOf(err) != wire.CodeUnavailable {
		t.Errorf("out of touch, the session is resumed with %v, want unavailable", err)
	}
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		g.write(wire.AppendControlFrame(nil, wire.TypePing, nil))
		m, err := g.next()
		must(t, err)
		if m.Type == wire.TypeBye {
			if !strings.Contains(string(m.Payload[0]), `"unavailable"`) || time.Since(begun) < time.Second {
				t.Errorf("sent away after %v with %s, want unavailable after a third of the lease", time.Since(begun), m.Payload[0])
			}
			return
		}
	}
}

// A client that takes the port for that of REST gets an answer in HTTP.
func TestHTTPAtTheDoor(t *testing.T) {
	n1 := newTestCluster(t, settings{}, "n1").nodes["n1"]
	transport := &http.Transport{DisableKeepAlives: true}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		ask, err := http.NewRequestWithContext(t.Context(), method, "http://"+n1.addr+"/v1/status", strings.NewReader(strings.Repeat("x", 9999)))
		must(t, err)
		res, err := transport.RoundTrip(ask)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "this is the port of native sessions") {
			t.Errorf("%s: %s %q, %v; want 400 and what this port is", method, res.Status, body, err)
		}
	}
}

// Connections that say nothing, or nothing after their preamble, keep nobody out: the oldest
// of too many is closed at once.
func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	w := newTestCluster(t, settings{limits: session.Limits{SignIn: time.Hour, Silent: 8}}, "n1")
	n1 := w.nodes["n1"]
	first := n1.dial(t, time.Minute)
	for i := range 200 {
		conn, err := net.Dial("tcp", n1.addr)
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		if i%4 == 0 {
			n1.dial(t, time.Minute)
		}
	}
	if b, err := io.ReadAll(first.raw); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest connection is still open, after %q", b)
	}
	n1.signIn(t, "native")
	if got := n1.hub.Counts()["refused"]; got < 40 {
		t.Errorf("%d connections were refused, want about 42", got)
	}
}
