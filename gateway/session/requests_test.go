package session_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// However a sign-in and a sign-out are written, they are understood and
// answered alike, byte for byte as encoding/json writes it.
func TestEveryRequestForm(t *testing.T) {
	w := newTestCluster(t, settings{tokens: []string{registry.HashSecret("t")}}, "n1", "n2")
	g := w.nodes["n1"].dial(t, 0)
	ask := func(content string) string {
		id := g.conversation()
		g.send(wire.Message{To: "COORDINATOR", Conversation: id, ID: 7, Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}})
		m := g.message()
		if m.Conversation != id || m.ID != 0 || m.From != "n1.COORDINATOR" || m.Type != wire.TypeJSON || len(m.Payload) != 1 {
			t.Fatalf("%s was answered by %+v", content, m)
		}
		return string(m.Payload[0])
	}
	for _, c := range []struct{ in, out, id string }{
		{`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser","labels":{"a":"b"},"lease":"20s","token":"t"}}`, `{"jsonrpc":"2.0","id":1,"method":"sign_out"}`, `1`},
		{`{"id":"x","method":"sign_in","jsonrpc":"2.0","params":{"name":"l\u0061ser","labels":{"a":"b"},"lease":20,"token":"t"}}`, `{"id":"x","method":"sign\u005fout","params":null}`, `"x"`},
		{` {"id":"<","method":"sign_in","params":{"token":"t","lease":"20s","labels":{"a":"b"},"name":"laser"}}`, ` {"id":"<","method":"sign_out","params":{ }}`, `"\u003c"`},
		{`{"method":"sign_in","params":{"token":"t","lease":"20s","labels":{"a":"b"},"name":"laser"}}`, `{"id":null,"method":"sign_out"}`, `null`},
	} {
		got := ask(c.in)
		var a struct {
			ID      json.RawMessage `json:"id"`
			Result  wire.Welcome    `json:"result"`
			Version string          `json:"jsonrpc"`
		}
		must(t, unmarshal([]byte(got), &a))
		want, err := json.Marshal(a)
		must(t, err)
		if got != string(want) || string(a.ID) != c.id || a.Version != "2.0" {
			t.Errorf("%s: got %s, want %s with id %s", c.in, got, want, c.id)
		}
		row, ok := w.nodes["n1"].machine.View().Registry.Session("n1.laser")
		if v, _ := row.Labels.Value("a"); !ok || v != "b" || row.Lease != 20*time.Second || row.ID != a.Result.Session || row.SecretHash != registry.HashSecret(a.Result.Secret) {
			t.Errorf("%s: answered %+v, made %+v", c.in, a.Result, row)
		}
		if len(a.Result.Coordinators) != 2 || a.Result.Index != row.Index || a.Result.Home != "n1" || a.Result.Resumed {
			t.Errorf("%s: answered %+v", c.in, a.Result)
		}
		if got, want := ask(c.out), `{"id":`+c.id+`,"result":null,"jsonrpc":"2.0"}`; got != want {
			t.Errorf("%s: got %s, want %s", c.out, got, want)
		}
		if _, ok := w.nodes["n1"].machine.View().Registry.Session("n1.laser"); ok {
			t.Errorf("%s: n1.laser is still there", c.out)
		}
	}
	// Refused alike, too.
	for _, c := range [][2]string{
		{`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser"}}`, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"l\u0061ser"}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"a.b","token":"t"}}`, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"\u0061.b","token":"t"}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"a","lease":"1s","token":"t"}}`, `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"\u0061","lease":1,"token":"t"}}`},
		{`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{}}`, `{"jsonrpc":"2.0","id":1,"method":"sign_in"}`},
	} {
		plain, odd := ask(c[0]), ask(c[1])
		if plain != odd || !strings.HasPrefix(plain, `{"id":1,"error":{"code":`) {
			t.Errorf("%s: %s\n%s: %s", c[0], plain, c[1], odd)
		}
	}
}

// An answer to what COORDINATOR asked has its outcome as every message with an
// id has: a receipt.
func TestAnAnswerToCoordinatorHasAReceipt(t *testing.T) {
	w := newTestCluster(t, settings{}, "n1")
	s := w.nodes["n1"]
	g := s.signIn(t, "laser")
	answered := make(chan string, 1)
	go func() {
		result, err := s.control.Request(t.Context(), control.Principal{}, "n1.laser", "status", nil)
		if err != nil {
			t.Error(err)
		}
		answered <- string(result)
	}()
	asked := g.message()
	g.send(wire.Message{To: asked.From, Conversation: asked.Conversation, ID: 9, Type: wire.TypeJSON, Payload: [][]byte{[]byte(`{"jsonrpc":"2.0","id":1,"result":"on"}`)}})
	if got := <-answered; got != `"on"` {
		t.Errorf("the answer is %s, want \"on\"", got)
	}
	g.send(wire.Message{Type: wire.TypePing, Payload: [][]byte{[]byte("1")}})
	for {
		m, err := g.next()
		must(t, err)
		if m.Type == wire.TypeReceipt {
			if got := m.Payload[0]; len(got) != 3 || got[2] != 9 {
				t.Errorf("a receipt for %v, want one for 9", got)
			}
			return
		}
		if m.To != "" {
			t.Fatalf("got a message from %s, want a receipt", m.From)
		}
	}
}
