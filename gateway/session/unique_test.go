package session_test

import (
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
)

// A request of COORDINATOR that tells a key twice is refused, whoever of the
// door and the coordinator reads it, and the key is named.
func TestDuplicateKeys(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	ask := func(g *testClient, content, key string) {
		t.Helper()
		id := g.conversation()
		g.send(wire.Message{To: "COORDINATOR", Conversation: id, Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}})
		m := g.message()
		if got := string(m.Payload[0]); !strings.Contains(got, `"error":`) || !strings.Contains(got, `\"`+key+`\" is told twice`) {
			t.Errorf("%s: got %s, want an error that names %s", content, got, key)
		}
	}
	stranger := w.nodes["n1"].dial(t, 0)
	ask(stranger, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser","name":"gui"}}`, "name")
	ask(stranger, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser","labels":{"a":"1","a":"1"}}}`, "labels.a")
	ask(stranger, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser"},"params":{"name":"gui"}}`, "params")
	ask(stranger, `{"jsonrpc":"2.0","id":1,"method":"sign_out","METHOD":"sign_in","params":{"name":"laser"}}`, "method")
	if n := w.nodes["n1"].machine.View().Registry.Len(); n != 0 {
		t.Errorf("%d components signed in by refused requests", n)
	}
	laser := w.nodes["n1"].signIn(t, "laser")
	ask(laser, `{"id":1,"method":"pong","id":2}`, "id")
	ask(laser, `{"id":1,"method":"lookup","params":{"name":"laser","name":"gui"}}`, "name")
	ask(laser, `{"id":1,"method":"lookup","params":{"name":"laser"},"params":{"name":"gui"}}`, "params")
	ask(laser, `[{"id":1,"method":"lookup","params":{"name":"laser","name":"gui"}}]`, "name")
	ask(laser, `{"id":1,"method":"subscribe","params":{"topics":["job"],"topics":["member"]}}`, "topics")
	ask(laser, `{"id":1,"method":"jobs.submit","params":{"runtime":"sh","script":"true","key":"0123456789abcdef","script":"false"}}`, "script")
	ask(laser, `{"id":1,"method":"start_parts","params":{"parts":[{"job":"j","part":1,"job":"k"}]}}`, "parts[0].job")
}

// So is a frame of a WebSocket; what it carries is its receiver's to judge.
func TestTextFramesWithKeysTwice(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	p := dialWS(t, w.nodes["n1"].serveWS(t))
	p.signIn("laser", "")
	p.writeText(`{"to":"n1.laser","content":{"x":1,"x":2}}`)
	if s := p.receive(); string(s.Content) != `{"x":1,"x":2}` {
		t.Errorf("a content came as %s", s.Content)
	}
	p.writeText(`{"to":"n1.laser","content":1,"content":2}`)
	if why, _ := p.bye(); why.Code != wire.CodeInvalid || !strings.Contains(why.Message, `"content" is told twice`) {
		t.Errorf("a frame with two contents ended the connection by %+v, want invalid", why)
	}
}
