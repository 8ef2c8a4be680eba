package leco_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/gateway/leco"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A component signs in by its plain name, learns its namespace from the
// answer's sender, and is in every list until it signs out.
func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	p := connect(t, s.door.Addr(), "CA")
	m := p.ask("COORDINATOR", "sign_in", nil)
	if m.to != "CA" || m.from != "n1.COORDINATOR" || m.header[16:] != "\x00\x00\x00\x01" || m.raw != `{"id":1,"result":null,"jsonrpc":"2.0"}` {
		t.Errorf("answer to a sign-in: got %q to %q from %q, header %q", m.raw, m.to, m.from, m.header)
	}
	p.name = "n1.CA"
	p.result("null", "COORDINATOR", "sign_in", nil) // again by the full name
	s.component("CB")
	p.result(`["CA","CB"]`, "COORDINATOR", "send_local_components", nil)
	p.result(`{"n1":["CA","CB"]}`, "n1.COORDINATOR", "send_global_components", nil)
	p.result(`{"n1":"`+s.door.Addr()+`"}`, "COORDINATOR", "send_nodes", nil)
	p.result("null", "COORDINATOR", "sign_out", nil)
	p.result("null", "COORDINATOR", "sign_out", nil) // of nobody
	if got := s.names(); got != "n1.CB" {
		t.Errorf("after CA signed out the coordinator knows %q", got)
	}
	if m := p.ask("COORDINATOR", "send_nodes", nil); m.code() != -32090 {
		t.Errorf("after the sign-out: got %s, want -32090", m.raw)
	}
}

// Every refusal has the code that pyleco clients act on.
func TestErrorsAsPylecoKnowsThem(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	p := s.component("CA")
	stranger := connect(t, s.door.Addr(), "CB")
	other := connect(t, s.door.Addr(), "CA")
	for _, c := range []struct {
		by         *peer
		to, method string
		params     any
		code       int
		data       any
	}{
		{stranger, "COORDINATOR", "send_nodes", nil, -32090, nil},
		{stranger, "CA", "sign_in", nil, -32090, nil}, // not asked of the coordinator
		{other, "COORDINATOR", "sign_in", nil, -32091, nil},
		{other, "COORDINATOR", "pong", nil, -32091, nil},
		{p, "n9.CA", "pong", nil, -32092, "n9"},
		{p, "CX", "pong", nil, -32093, "CX"},
		{p, "n1.CX", "pong", nil, -32093, "n1.CX"},
		{p, "A.B.C", "pong", nil, -32093, "A.B.C"},
		{p, "COORDINATOR", "fly", nil, -32601, "fly"},
		{p, "COORDINATOR", "pong", map[string]any{"x": 1}, -32602, nil},
		{p, "COORDINATOR", "set_log_level", map[string]any{"level": "LOUD"}, -32602, nil},
		{p, "COORDINATOR", "set_log_level", nil, -32602, nil},
		{p, "COORDINATOR", "add_nodes", map[string]any{"nodes": 5}, -32602, nil},
		{p, "COORDINATOR", "remove_expired_addresses", map[string]any{"expiration_time": -1}, -32602, nil},
		{p, "COORDINATOR", "shut_down", nil, -32000, nil},
	} {
		m := c.by.ask(c.to, c.method, c.params)
		if m.code() != c.code || c.data != nil && fmt.Sprint(m.content.Error.Data) != fmt.Sprint(c.data) {
			t.Errorf("%s asks %s for %s: got %s, want code %d, data %v", c.by.name, c.to, c.method, m.raw, c.code, c.data)
		}
		if (c.code == -32090 || c.code == -32092 || c.code == -32093) && string(m.content.ID) != "null" {
			t.Errorf("%s: a routing error has the id %s, want null", m.raw, m.content.ID)
		}
	}
	p.result("null", "COORDINATOR", "set_log_level", map[string]any{"level": "DEBUG"})
	p.result("null", "COORDINATOR", "set_log_level", []string{"INFO"}) // params by position
}

// Answers have only members that pyleco accepts: id, jsonrpc, and one of
// result and error; an error has code, message and perhaps data.
func TestAnswersHaveNoOtherMembers(t *testing.T) {
	t.Parallel()
	p := open(t, "n1").component("CA")
	for _, m := range []message{
		p.ask("COORDINATOR", "pong", nil), p.ask("COORDINATOR", "rpc.discover", nil), p.ask("COORDINATOR", "fly", nil),
		p.ask("CX", "pong", nil), p.ask("COORDINATOR", "shut_down", nil), p.ask("COORDINATOR", "jobs.get", map[string]any{"id": "nobody"}),
	} {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(m.raw), &members); err != nil {
			t.Fatal(err)
		}
		if len(members) != 3 || members["id"] == nil || members["jsonrpc"] == nil || members["result"] == nil && members["error"] == nil {
			t.Errorf("an answer with other members: %s", m.raw)
		}
		var inner map[string]json.RawMessage
		_ = json.Unmarshal(members["error"], &inner)
		for name := range inner {
			if name != "code" && name != "message" && name != "data" {
				t.Errorf("an error with the member %s: %s", name, m.raw)
			}
		}
	}
	m := p.ask("COORDINATOR", "rpc.discover", nil)
	var doc struct {
		OpenRPC string `json:"openrpc"`
		Info    struct{ Title string }
		Methods []struct{ Name string }
	}
	if err := json.Unmarshal(m.content.Result, &doc); err != nil || doc.OpenRPC != "1.2.6" || doc.Info.Title != "n1.COORDINATOR" {
		t.Errorf("rpc.discover: %v, %+v", err, doc)
	}
	offered := map[string]bool{}
	for _, m := range doc.Methods {
		offered[m.Name] = true
	}
	for _, name := range strings.Fields("pong set_log_level shut_down sign_in sign_out coordinator_sign_in coordinator_sign_out add_nodes send_nodes record_components send_local_components send_global_components remove_expired_addresses") {
		if !offered[name] {
			t.Errorf("rpc.discover does not list %s", name)
		}
	}
	if offered["rpc.discover"] {
		t.Error("rpc.discover lists itself")
	}
}

// A message keeps its header and frames; only a missing namespace is added.
func TestMessagesArriveAsSent(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	a, b := s.component("CA"), s.component("CB")
	h := "conversation-16b\x01\x02\x03\xea"
	a.frames("\x07", "CB", "CA", h, "", "\x00\xff binary", "")
	m := b.next()
	if m.to != "n1.CB" || m.from != "n1.CA" || m.header != h || fmt.Sprint(m.payload) != fmt.Sprint([]string{"", "\x00\xff binary", ""}) {
		t.Errorf("got %+v", m)
	}
	b.frames("\x00", "n1.CA", "n1.CB", h) // no payload at all
	if m := a.next(); m.from != "n1.CB" || len(m.payload) != 0 {
		t.Errorf("got %+v", m)
	}
	a.say("CA", "to oneself", "{}")
	if m := a.next(); m.from != "n1.CA" {
		t.Errorf("a message to oneself: got %+v", m)
	}
}

// Messages of one sender to one receiver stay in order.
func TestOrder(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	a, b := s.component("CA"), s.component("CB")
	for i := range 900 {
		a.say("CB", "c", fmt.Sprint(i))
	}
	for i := range 900 {
		if m := b.next(); m.raw != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.raw)
		}
	}
}

// Native and REST components see LECO's and are seen by them.
func TestOneDirectoryForAll(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	rest, err := s.SignIn(t.Context(), anyone, wire.SignIn{Name: "rest"}, "")
	if err != nil {
		t.Fatal(err)
	}
	p := s.component("CA")
	p.result(`["rest","CA"]`, "COORDINATOR", "send_local_components", nil)
	p.say("rest", "to REST", `{"id":1,"method":"pong","jsonrpc":"2.0"}`)
	box, err := s.Inbox(t.Context(), by(rest.Secret), "n1.rest")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := box.Receive(ctx, 0, 1)
	if err != nil || len(got) != 1 || got[0].From != "n1.CA" || got[0].Type != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := s.Send(t.Context(), by(rest.Secret), wire.SendMessage{To: "CA", Content: json.RawMessage(`{"id":7,"result":null}`)}, ""); err != nil {
		t.Fatal(err)
	}
	if m := p.next(); m.from != "n1.rest" || string(m.content.ID) != "7" {
		t.Errorf("got %+v", m)
	}
	if m := connect(t, s.door.Addr(), "rest").ask("COORDINATOR", "sign_in", nil); m.code() != -32091 {
		t.Errorf("LECO takes a REST component's name: %s", m.raw)
	}
	// The coordinator asks a LECO component and reads its answer.
	answered := make(chan error, 1)
	go func() {
		result, err := s.Request(ctx, anyone, "n1.CA", "get", json.RawMessage(`{"x":1}`))
		if err == nil && string(result) != "5" {
			err = fmt.Errorf("result %s", result)
		}
		answered <- err
	}()
	m := p.next()
	p.frames("\x00", m.from, "n1.CA", m.header, fmt.Sprintf(`{"id":%s,"result":5,"jsonrpc":"2.0"}`, m.content.ID))
	if err := <-answered; err != nil {
		t.Errorf("a request to a LECO component: %v", err)
	}
}

// The name of a component whose connection is gone is free at once.
func TestLostConnectionFreesTheName(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	s.component("CA").conn.Close()
	eventually(t, "CA is gone", func() bool { return s.names() == "" })
	s.component("CA")
	s.component("CB").conn.Close()
	s.component("CC")
	again := connect(t, s.door.Addr(), "CB")
	eventually(t, "CB signs in anew", func() bool { return again.ask("COORDINATOR", "sign_in", nil).code() == 0 })
}

// A component that an operator removed learns that it is not signed in.
func TestRemovedComponentIsTold(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	p := s.component("CA")
	if _, err := s.RemoveComponent(t.Context(), anyone, "n1.CA", "out"); err != nil {
		t.Fatal(err)
	}
	if m := p.next(); m.code() != -32090 || m.from != "n1.COORDINATOR" {
		t.Errorf("got %s from %s, want -32090", m.raw, m.from)
	}
	if m := p.ask("COORDINATOR", "pong", nil); m.code() != -32090 {
		t.Errorf("it goes on: %s", m.raw)
	}
	p.result("null", "COORDINATOR", "sign_in", nil)
}

// A connection that stays silent is told to sign in; one that speaks is not.
func TestNudge(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Nudge = 30 * time.Millisecond })
	p := s.component("CA")
	m := connect(t, s.door.Addr(), "CB").next()
	if m.code() != -32090 || m.to != "" || m.from != "n1.COORDINATOR" {
		t.Errorf("got %q to %q from %q, want -32090 to nobody", m.raw, m.to, m.from)
	}
	p.result("null", "COORDINATOR", "pong", nil)
	if got := s.door.Counts()["nudges"]; got != 1 {
		t.Errorf("%d nudges, want 1", got)
	}
}

// Who is silent is asked for a pong, and is gone after three times as long.
func TestExpiry(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	p, silent := s.component("CB"), s.component("CA")
	quiet := time.Now()
	<-time.After(time.Second)
	half := time.Since(quiet).Seconds() / 2 // it was silent for longer than this, and for less than three times as long
	p.result("null", "COORDINATOR", "remove_expired_addresses", map[string]any{"expiration_time": half})
	if m := silent.next(); m.content.Method != "pong" || string(m.content.ID) != "0" || m.to != "n1.CA" {
		t.Errorf("got %s to %s, want a request for a pong", m.raw, m.to)
	}
	p.result("null", "COORDINATOR", "remove_expired_addresses", map[string]any{"expiration_time": 0.01})
	eventually(t, "CA is gone", func() bool { return s.names() == "n1.CB" })
	p.frames("\x00", "COORDINATOR", "CB", string(header("x", 1)), `{"id":0,"result":null,"jsonrpc":"2.0"}`) // a pong is swallowed
	p.result("null", "COORDINATOR", "pong", nil)
}

// A sign-in is answered in time while no write can be made, holds, and is
// taken back if the write is refused in the end.
func TestSignInDuringAnElection(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Answer = 30 * time.Millisecond })
	release := s.log.hold()
	defer release()
	a := connect(t, s.door.Addr(), "CA")
	if m := a.ask("COORDINATOR", "sign_in", nil); m.code() != 0 { // answered, although the write is held
		t.Fatalf("a sign-in without a leader: %s", m.raw)
	}
	b := connect(t, s.door.Addr(), "CB")
	b.result("null", "COORDINATOR", "sign_in", nil)
	if m := connect(t, s.door.Addr(), "CA").ask("COORDINATOR", "sign_in", nil); m.code() != -32091 {
		t.Errorf("the name is given twice: %s", m.raw)
	}
	a.say("CB", "between the two", "{}")
	if m := b.next(); m.from != "n1.CA" {
		t.Errorf("got %+v", m)
	}
	a.result(`["CA","CB"]`, "COORDINATOR", "send_local_components", nil)
	release()
	eventually(t, "both are written", func() bool { return s.names() == "n1.CA n1.CB" })
	a.say("CB", "after it", "{}")
	if m := b.next(); m.from != "n1.CA" {
		t.Errorf("got %+v", m)
	}
}

// Whoever gets a message can answer it: one from a name that is not written yet waits where the receiver's answers go by
// the directory.
func TestAnswerToANameThatIsNotWrittenYet(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Answer = 20 * time.Millisecond })
	rest, box := s.restComponent(t)
	release := s.log.hold()
	defer release()
	p := connect(t, s.door.Addr(), "CA")
	p.result("null", "COORDINATOR", "sign_in", nil)
	answered := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := box.Receive(ctx, 0, 1)
		if err == nil {
			_, err = s.Send(ctx, rest, wire.SendMessage{To: "CA", Content: json.RawMessage(`{"id":7,"result":null}`)}, "")
		}
		answered <- err
	}()
	p.say("rest", "a question", `{"id":7,"method":"pong","jsonrpc":"2.0"}`)
	select {
	case err := <-answered:
		t.Fatalf("the question was delivered before its sender's name was written, and answering it gave %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if m := p.next(); m.from != "n1.rest" || string(m.content.ID) != "7" {
		t.Errorf("got %+v", m)
	}
}

// Nothing is sent under a name that is another's in the end.
func TestNothingIsSentUnderARefusedName(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Answer = 20 * time.Millisecond })
	rest, box := s.restComponent(t)
	release := s.log.hold()
	p := connect(t, s.door.Addr(), "CA")
	p.result("null", "COORDINATOR", "sign_in", nil)
	s.log.mu.Lock()
	s.log.held = nil
	s.log.mu.Unlock()
	s.propose(registry.KindSignIn, registry.SignIn{Name: "CA", Namespace: "n1", Session: "other", SecretHash: "h", Home: "n1", Kind: "rest"})
	p.say("rest", "not mine", `{"id":7,"method":"pong","jsonrpc":"2.0"}`)
	eventually(t, "the message is read, and waits", func() bool { return s.door.Counts()["messages"] == 2 })
	release()
	codes := map[int]bool{}
	for range 2 { // the sign-in that is taken back, and the message that was not sent
		codes[p.next().code()] = true
	}
	if !codes[-32090] {
		t.Errorf("got %v, want -32090", codes)
	}
	if _, err := s.Send(t.Context(), rest, wire.SendMessage{To: "rest", Content: json.RawMessage(`"own"`)}, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := box.Receive(ctx, 0, 5); err != nil || len(got) != 1 || got[0].From != "n1.rest" {
		t.Errorf("the receiver got %+v, %v, want its own message alone", got, err)
	}
}

func TestSignInIsTakenBack(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.Answer = 20 * time.Millisecond })
	release := s.log.hold()
	p := connect(t, s.door.Addr(), "CA")
	p.result("null", "COORDINATOR", "sign_in", nil)
	// Elsewhere somebody else was faster.
	s.log.mu.Lock()
	s.log.held = nil
	s.log.mu.Unlock()
	s.propose(registry.KindSignIn, registry.SignIn{Name: "CA", Namespace: "n1", Session: "other", SecretHash: "h", Home: "n1", Kind: "rest"})
	release()
	if m := p.next(); m.code() != -32090 {
		t.Errorf("got %s, want -32090", m.raw)
	}
	if m := p.ask("COORDINATOR", "sign_in", nil); m.code() != -32091 {
		t.Errorf("got %s, want -32091", m.raw)
	}
}

// A session left over from before a restart gives its name up.
func TestGhostGivesItsNameUp(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	s.propose(registry.KindSignIn, registry.SignIn{Name: "CA", Namespace: "n1", Session: "before", SecretHash: "h", Home: "n1", Kind: "leco", Lease: time.Hour})
	p := connect(t, s.door.Addr(), "n1.CA")
	if m := p.ask("COORDINATOR", "pong", nil); m.code() != -32090 {
		t.Errorf("a name whose connection is gone: got %s, want -32090", m.raw)
	}
	p.result("null", "COORDINATOR", "sign_in", nil)
	if row, _ := s.machine.View().Registry.Session("n1.CA"); row.ID == "before" {
		t.Error("the session of before still has the name")
	}
}

// Batches are answered in order, without the notifications.
func TestBatches(t *testing.T) {
	t.Parallel()
	p := open(t, "n1").component("CA")
	for in, want := range map[string]string{
		`[{"id":1,"method":"pong"},{"method":"pong"},{"id":"b","method":"fly"}]`: `[{"id":1,"result":null,"jsonrpc":"2.0"},{"id":"b","error":{"code":-32601,"message":"Method not found","data":"fly"},"jsonrpc":"2.0"}]`,
		` {"id" : null, "method":"pong"}`:                                        `{"id":null,"result":null,"jsonrpc":"2.0"}`,
		`{"id":-5,"method":"pong","jsonrpc":"1.0"}`:                              `{"id":-5,"result":null,"jsonrpc":"2.0"}`,
		`[{"id":1,"result":null},{"id":2,"method":"pong"}]`:                      `[{"id":2,"result":null,"jsonrpc":"2.0"}]`,
		`{"id":"sign_in","method":"send_local_components"}`:                      `{"id":"sign_in","result":["CA"],"jsonrpc":"2.0"}`,
		`{"id":1.5,"method":"pong"}`:                                             "-32600",
		`{"id":1,"method":"pong","extra":1}`:                                     "-32600",
		`{"id":1,"method":7}`:                                                    "-32600",
		`[]`:                                                                     "-32600",
		`7`:                                                                      "-32600",
		`{"id":1,`:                                                               "-32700",
		`[1,`:                                                                    "-32700",
		"":                                                                       "-32700",
		strings.Repeat("[", 100_000):                                             "-32700",
		"[" + strings.Repeat(`{"method":"pong"},`, 100) + `{"a":1}]`: "-32600",
	} {
		p.say("COORDINATOR", "batch", in)
		if m := p.next(); m.raw != want && fmt.Sprint(m.code()) != want {
			t.Errorf("%.100s: got %s, want %s", in, m.raw, want)
		}
	}
	p.say("COORDINATOR", "silence", `[{"method":"pong"},{"method":"fly"}]`)
	p.say("COORDINATOR", "silence", `{"method":"fly"}`)
	p.say("COORDINATOR", "silence", `[{"id":5,"result":null},{"id":6,"result":3}]`)
	p.say("COORDINATOR", "silence", `{"id":5,"error":{"code":-32090,"message":""}}`)
	p.result("null", "COORDINATOR", "pong", nil) // nothing came before this
	p.frames("\x00", "COORDINATOR", "CA", string(header("type 7", 7)), "x")
	if m := p.next(); m.code() != -32600 {
		t.Errorf("a message of type 7: got %s, want -32600", m.raw)
	}
}

// What follows a sign-in in its batch is judged by what came of it.
func TestBatchIsNoWayIn(t *testing.T) {
	t.Parallel()
	s := open(t, "n1", func(c *leco.Config) { c.ShutDown = func(by string) { t.Errorf("%s shut the coordinator down", by) } })
	s.component("CA")
	const more = `,{"id":2,"method":"shut_down"},{"id":3,"method":"add_nodes","params":[{"n7":"127.0.0.1:1"}]},{"id":4,"method":"remove_expired_addresses","params":[0]}]`
	for name, first := range map[string]string{"CA": "sign_in", "CB": "sign_out", "n2.x": "coordinator_sign_in", "n1.CB": "coordinator_sign_out"} {
		p := connect(t, s.door.Addr(), name)
		p.say("COORDINATOR", "batch", `[{"id":1,"method":"`+first+`"}`+more)
		m := p.next()
		if n := strings.Count(m.raw, "-32090"); n != 3 && m.code() != -32090 {
			t.Errorf("%s begins a batch by %s and gets %s, want three times -32090", name, first, m.raw)
		}
	}
	if got := s.names(); got != "n1.CA" {
		t.Errorf("the coordinator knows %q", got)
	}
	p := connect(t, s.door.Addr(), "CB")
	p.say("COORDINATOR", "batch", `[{"id":1,"method":"sign_in"},{"id":2,"method":"send_local_components"},{"id":3,"method":"sign_out"},{"id":4,"method":"send_nodes"}]`)
	want := `[{"id":1,"result":null,"jsonrpc":"2.0"},{"id":2,"result":["CA","CB"],"jsonrpc":"2.0"},{"id":3,"result":null,"jsonrpc":"2.0"},{"id":4,"error":{"code":-32090,"message":"You did not sign in!"},"jsonrpc":"2.0"}]`
	if m := p.next(); m.raw != want {
		t.Errorf("got  %s\nwant %s", m.raw, want)
	}
}

// No message stops the door or costs anybody else anything.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	p := s.component("good")
	h := string(header("hostile", 1))
	signIn := `{"id":1,"method":"sign_in","jsonrpc":"2.0"}`
	hostile := [][]string{
		{""},
		{"\x00"},
		{"\x00", "COORDINATOR"},
		{"\x00", "COORDINATOR", "CA"},
		{"", "", "", ""},
		{"\x00", "COORDINATOR", "CA", "short header", signIn},
		{"\x00", "COORDINATOR", "CA", h + "longer", signIn},
		{"\x00", "COORDINATOR", "", h, signIn},
		{"\x00", "COORDINATOR", ".", h, signIn},
		{"\x00", "COORDINATOR", "A.B.C", h, signIn},
		{"\x00", "COORDINATOR", ".CA", h, signIn},
		{"\x00", "COORDINATOR", "n1.", h, signIn},
		{"\x00", "COORDINATOR", "\xff\xfe", h, signIn},
		{"\x00", "COORDINATOR", "COORDINATOR", h, signIn},
		{"\x00", "COORDINATOR", "n1.COORDINATOR", h, signIn},
		{"\x00", "COORDINATOR", strings.Repeat("n", 70_000), h, signIn},
		{"\x00", strings.Repeat("n", 70_000), "good", h, signIn},
		{"\x00", "\xff\xfe", "CA", h, signIn},
		{"\x00", "COORDINATOR", "CA", h, "\xff\xfe"},
		{"\x00", "COORDINATOR", "CA", h, `"sign_in"`},
		{"\x00", "COORDINATOR", "CA", h, `{"id":"sign_in","method":"send_local_components"}`},
		{"\x00", "COORDINATOR", "CA", h, `{"method":"sign_in"`},
		{"\x00", "COORDINATOR", "CA", h, strings.Repeat(`{"a":`, 20_000)},
		{"\x00", "COORDINATOR", "n2.COORDINATOR", h, `{"id":1,"method":"coordinator_sign_in","params":{"x":1}}`},
		{"\x00", "COORDINATOR", "n2.COORDINATOR", h, `{"id":1,"method":"coordinator_sign_out"}`},
		{"\x00", "COORDINATOR", "n1.COORDINATOR", h, `{"id":1,"method":"coordinator_sign_in"}`},
		{"\x00", "COORDINATOR", "a b\x01.COORDINATOR", h, `{"id":1,"method":"coordinator_sign_in"}`},
		{"\x00", "COORDINATOR", "n2.x", h, `{"id":1,"method":"coordinator_sign_in"}`},
	}
	for i, frames := range hostile {
		q := connect(t, s.door.Addr(), "hostile")
		q.frames(frames...)
		p.result("null", "COORDINATOR", "pong", nil)
		q.result("null", "COORDINATOR", "sign_out", nil) // its connection lives and is heard
		if got := s.names(); got != "n1.good" {
			t.Errorf("message %d %.80q: the coordinator knows %q", i, frames, got)
		}
		q.conn.Close()
	}
	// And as one who is signed in, with what only then is read.
	for _, content := range []string{
		`{"id":1,"method":"add_nodes","params":{"nodes":{"":"","n7":"nowhere","n1":"x:1","n8":":","n9":"127.0.0.1:notaport","":"[::"}}}`,
		`{"id":1,"method":"add_nodes","params":[{"n7":5}]}`,
		`{"id":1,"method":"add_nodes","params":[{"a":"b"},{"c":"d"}]}`,
		`{"id":1,"method":"record_components","params":{"components":["x","A.B","\u0000",""]}}`,
		`{"id":1,"method":"record_components","params":{"components":{"a":1}}}`,
		`{"id":1,"method":"record_components","params":{"components":[[]]}}`,
		`{"id":1,"method":"remove_expired_addresses","params":{"expiration_time":"soon"}}`,
		`{"id":1,"method":"remove_expired_addresses","params":{"expiration_time":1e308}}`,
		`{"id":1,"method":"remove_expired_addresses","params":[null]}`,
		`{"id":1,"method":"coordinator_sign_in"}`,
		`{"id":1,"method":"coordinator_sign_out"}`,
		`{"id":1,"method":"rpc.discover","params":{"x":1}}`,
		`{"id":1,"method":"__init__"}`,
		`{"id":1,"method":"set_log_level","params":{"level":null}}`,
		`{"id":{},"method":"pong"}`,
		`{"id":1,"method":"pong","params":7}`,
		`{"id":1,"method":"pong","params":[]}`,
		`null`, `true`, `"x"`, `{}`, `[[]]`, `[null]`,
	} {
		p.say("COORDINATOR", "hostile", content)
		if m := p.next(); m.from != "n1.COORDINATOR" {
			t.Errorf("%s: got %+v", content, m)
		}
	}
	p.result("null", "COORDINATOR", "pong", nil)
	if counts := s.door.Counts(); counts["malformed"] == 0 || counts["not_signed_in"] == 0 || counts["bad_content"] == 0 {
		t.Errorf("what was hostile is not counted: %v", counts)
	}
}

// A receiver that does not read makes its senders' messages busy, nobody's else.
func TestSlowReceiverIsBusy(t *testing.T) {
	t.Parallel()
	s := open(t, "n1")
	a, b := s.component("CA"), s.component("CB")
	slow := connect(t, s.door.Addr(), "slow") // its reader is stopped below
	slow.result("null", "COORDINATOR", "sign_in", nil)
	for range cap(slow.got) + 1 { // fill the test's own channel: from here on nothing is read
		a.say("slow", "fill", "{}")
	}
	big := strings.Repeat("x", 1<<20)
	busy := false
	for i := 0; i < 200 && !busy; i++ {
		a.say("slow", "more", big)
		select {
		case m := <-a.got:
			busy = m.code() == -32000 && strings.Contains(m.raw, "busy")
		default:
		}
	}
	if !busy {
		if m := a.next(); m.code() != -32000 {
			t.Errorf("got %s, want busy", m.raw)
		}
	}
	b.say("CA", "others go on", "{}")
	for m := a.next(); m.from != "n1.CB"; m = a.next() {
	}
	go func() {
		for range slow.got {
		}
	}()
}

// shut_down is answered, and then the coordinator may stop.
func TestShutDown(t *testing.T) {
	t.Parallel()
	stopped := make(chan string, 1)
	s := open(t, "n1", func(c *leco.Config) { c.ShutDown = func(by string) { stopped <- by } })
	p := s.component("CA")
	p.result("null", "COORDINATOR", "shut_down", nil)
	if by := <-stopped; by != "n1.CA" {
		t.Errorf("stopped by %q", by)
	}
	s.close()
	if got := s.names(); got != "" {
		t.Errorf("after the door closed its components stay: %q", got)
	}
}

// While tokens are asked for, who comes in by the door, which has no place for one,
// signs in, sends and looks up, and does nothing to the coordinator.
func TestDoorWhileTokensAreAskedFor(t *testing.T) {
	t.Parallel()
	tokens, err := control.NewAuthenticator([]string{control.HashToken("one")})
	if err != nil {
		t.Fatal(err)
	}
	s := openWith(t, "n1", tokens, func(c *leco.Config) {
		c.ShutDown = func(by string) { t.Errorf("%s stopped the coordinator", by) }
		c.SetLogLevel = func(level string) { t.Errorf("the log level was set to %s", level) }
	})
	p, other := s.component("CA"), s.component("CB")
	for method, params := range map[string]any{
		"shut_down": nil, "set_log_level": map[string]any{"level": "DEBUG"}, "add_nodes": map[string]any{"nodes": map[string]string{"n7": "127.0.0.1:1"}},
		"record_components": map[string]any{"components": []string{"X"}}, "remove_expired_addresses": map[string]any{"expiration_time": 0},
		"jobs.submit": map[string]any{"runtime": "sh", "script": "true"}, "jobs.get": map[string]any{"id": "j1"}, "jobs.cancel": map[string]any{"id": "j1"},
	} {
		m := p.ask("COORDINATOR", method, params)
		if m.code() == 0 || !strings.Contains(m.raw, "this needs ") {
			t.Errorf("%s: got %s, want it refused with what it needs", method, m.raw)
		}
	}
	foreign := connect(t, s.door.Addr(), "n7.COORDINATOR")
	if m := foreign.ask("COORDINATOR", "coordinator_sign_in", nil); m.code() == 0 || !strings.Contains(m.raw, "this needs cluster:write") {
		t.Errorf("coordinator_sign_in: got %s, want it refused", m.raw)
	}
	p.result("null", "COORDINATOR", "pong", nil)
	p.result(`["CA","CB"]`, "COORDINATOR", "send_local_components", nil)
	p.result(`{"n1":"`+s.door.Addr()+`"}`, "COORDINATOR", "send_nodes", nil)
	p.say("CB", "a message", "{}")
	if m := other.next(); m.from != "n1.CA" {
		t.Errorf("CB got %s from %s, want CA's message", m.raw, m.from)
	}
	p.result("null", "COORDINATOR", "sign_out", nil)
}

// A request that tells a member or a param twice is refused, and it is named.
func TestMembersToldTwice(t *testing.T) {
	t.Parallel()
	p := open(t, "n1").component("CA")
	for _, c := range []struct {
		content, key string
		code         int
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"pong","method":"sign_out"}`, "method", -32600},
		{`{"jsonrpc":"2.0","id":1,"method":"pong","id":2}`, "id", -32600},
		{`{"jsonrpc":"2.0","id":1,"method":"set_log_level","params":{"level":"INFO","level":"DEBUG"}}`, "level", -32602},
		{`{"jsonrpc":"2.0","id":1,"method":"jobs.get","params":{"id":"a","id":"b"}}`, "id", -32602},
	} {
		p.say("COORDINATOR", "conversation_id;", c.content)
		if m := p.next(); m.code() != c.code || !strings.Contains(m.raw, `\"`+c.key+`\" is told twice`) {
			t.Errorf("%s: got %s, want %d with the name %s", c.content, m.raw, c.code, c.key)
		}
	}
	p.result("null", "COORDINATOR", "pong", nil)
}
