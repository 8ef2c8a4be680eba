package control_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

func say(to, text string) wire.SendMessage {
	content, _ := json.Marshal(text)
	return wire.SendMessage{To: to, Content: content}
}

// A message reaches a component of the same or of another coordinator, from
// whichever coordinator it is sent and read.
func TestSendAndReceiveAnywhere(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		laser, stage := n1.signIn(t, "laser"), n2.signIn(t, "stage")
		sent, err := n1.Send(t.Context(), by(laser.Secret), say("n2.stage", "one"), "")
		noError(t, err)
		if sent.Outcome != "delivered" || len(sent.ConversationID) != 36 {
			t.Errorf("the send is answered %+v, want delivered and a conversation", sent)
		}
		_, err = n2.Send(t.Context(), by(laser.Secret), say("n2.stage", "two"), "") // at a coordinator that is not the sender's home
		noError(t, err)
		for _, at := range []*testNode{n1, n2} {
			got := at.inbox(t, stage, 0)
			if len(got) != 2 || string(got[0].Content) != `"one"` || string(got[1].Content) != `"two"` {
				t.Fatalf("read at %s: %+v, want one, two", at.id, got)
			}
			if got[0].From != "n1.laser" || got[0].ConversationID != sent.ConversationID || got[0].Type != 1 {
				t.Errorf("read at %s: %+v, want from n1.laser, type 1, the conversation of the send", at.id, got[0])
			}
		}
		// Acknowledged messages are gone; the wait at another coordinator ends with the next one.
		go func() {
			time.Sleep(25 * time.Second)
			n1.Send(context.Background(), by(laser.Secret), wire.SendMessage{To: "n2.stage", Payload: [][]byte{{0xff}}}, "")
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		n2.Heartbeat(ctx, by(stage.Secret), stage.FullName)
		b, err := n1.Inbox(ctx, by(stage.Secret), stage.FullName)
		noError(t, err)
		if got, err := b.Receive(ctx, 2, 0); err != nil || len(got) != 0 {
			t.Fatalf("a wait that ends without a message: %v, %v; want neither", got, err)
		}
		for range 2 { // keep both leases while the sender sleeps
			time.Sleep(5 * time.Second)
			n2.Heartbeat(t.Context(), by(stage.Secret), stage.FullName)
			n1.Heartbeat(t.Context(), by(laser.Secret), laser.FullName)
		}
		got := n1.inbox(t, stage, 2)
		if len(got) != 1 || got[0].Seq != 3 || len(got[0].Content) != 0 || len(got[0].Payload) != 1 {
			t.Fatalf("after 2: %+v, want number 3, all payload", got)
		}
	}, "n1", "n2")
}

// A poll that does not wait gets what is there, wherever it asks.
func TestReceiveWithoutWaiting(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		laser, stage := n1.signIn(t, "laser"), n2.signIn(t, "stage")
		for _, at := range []*testNode{n1, n2} {
			_, err := n1.Send(t.Context(), by(laser.Secret), say("n2.stage", "one"), "")
			noError(t, err)
			last := uint64(0)
			for _, want := range []int{1, 0} {
				b, err := at.Inbox(t.Context(), by(stage.Secret), stage.FullName)
				noError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				got, err := b.Receive(ctx, last, 0)
				cancel()
				if err != nil || len(got) != want {
					t.Fatalf("at %s, after %d: %v, %v, want %d messages", at.id, last, got, err, want)
				}
				if want > 0 {
					last = got[0].Seq
				}
			}
		}
	}, "n1", "n2")
}

// Nobody sends in another's name, and what is no message is refused.
func TestSendRefusals(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		laser := n1.signIn(t, "laser")
		n1.signIn(t, "stage")
		cases := []struct {
			in   wire.SendMessage
			code wire.Code
			says string
		}{
			{wire.SendMessage{To: "stage", From: "n1.stage", Content: []byte("1")}, wire.CodeForbidden, "n1.laser must not send as"},
			{wire.SendMessage{To: "stage", From: "laser", Content: []byte("1")}, wire.CodeForbidden, "n1.laser"},
			{wire.SendMessage{To: "stage", Content: []byte("{")}, wire.CodeInvalid, "not JSON"},
			{wire.SendMessage{To: "stage"}, wire.CodeInvalid, "nothing to send"},
			{wire.SendMessage{Content: []byte("1")}, wire.CodeInvalid, "receiver"},
			{wire.SendMessage{To: "a.b.c", Content: []byte("1")}, wire.CodeInvalid, "one dot"},
			{wire.SendMessage{To: "stage", Content: []byte("1"), ConversationID: "x"}, wire.CodeInvalid, "UUID"},
			{wire.SendMessage{To: "stage", Content: []byte("1"), Timeout: -1}, wire.CodeInvalid, "timeout"},
			{wire.SendMessage{To: "nobody", Content: []byte("1")}, wire.CodeNotFound, "n1.nobody"},
			{wire.SendMessage{To: "mars.stage", Content: []byte("1")}, wire.CodeNotFound, "mars.stage"},
			{wire.SendMessage{To: "stage", Payload: [][]byte{make([]byte, wire.MaxMessage+1)}}, wire.CodeTooLarge, ""},
		}
		for _, c := range cases {
			_, err := n1.Send(t.Context(), by(laser.Secret), c.in, "")
			refused(t, err, c.code, c.says)
		}
		if n1.mail.sent != 0 {
			t.Errorf("%d messages were handed over, want none", n1.mail.sent)
		}
	}, "n1")
}

// A send with a key is made once, wherever it is repeated; a certain refusal
// is tried again.
func TestSendTwiceWithOneKey(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		laser, err := n1.SignIn(t.Context(), anyone, wire.SignIn{Name: "laser", Lease: wire.Duration(time.Hour)}, "")
		noError(t, err)
		stage := n1.signIn(t, "stage")
		n1.mail.fill(true)
		_, err = n1.Send(t.Context(), by(laser.Secret), say("stage", "one"), key)
		refused(t, err, wire.CodeBusy, "full")
		n1.mail.fill(false)
		first, err := n1.Send(t.Context(), by(laser.Secret), say("stage", "one"), key)
		noError(t, err)
		again, err := n2.Send(t.Context(), by(laser.Secret), say("stage", "one"), key)
		noError(t, err)
		if first != again {
			t.Errorf("repeated: %+v and %+v, want the same", first, again)
		}
		_, err = n1.Send(t.Context(), by(laser.Secret), say("stage", "two"), key)
		refused(t, err, wire.CodeConflict, "another message")
		if got := n1.inbox(t, stage, 0); len(got) != 1 {
			t.Fatalf("%d messages arrived, want one", len(got))
		}
		time.Sleep(12 * time.Minute)
		_, err = n1.Send(t.Context(), by(laser.Secret), say("COORDINATOR", "two"), key)
		noError(t, err) // the key is forgotten
	}, "n1", "n2")
}

// A request to COORDINATOR comes back as a message of the same conversation,
// from the coordinator of whichever namespace was asked.
func TestMessageToCoordinator(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		laser := n1.signIn(t, "laser")
		n2.signIn(t, "stage")
		for after, to := range []string{"COORDINATOR", "n2.COORDINATOR"} {
			sent, err := n1.Send(t.Context(), by(laser.Secret), wire.SendMessage{
				To: to, Content: []byte(`[{"jsonrpc":"2.0","id":7,"method":"send_local_components"},{"jsonrpc":"2.0","method":"pong"},{"jsonrpc":"2.0","id":"x","method":"shut_down"}]`),
			}, "")
			noError(t, err)
			got := n1.inbox(t, laser, uint64(after))
			name := map[string]string{"COORDINATOR": "laser", "n2.COORDINATOR": "stage"}[to]
			want := `[{"id":7,"result":["` + name + `"],"jsonrpc":"2.0"},{"id":"x","error":{"code":-32601,"message":"COORDINATOR has no method \"shut_down\""},"jsonrpc":"2.0"}]`
			if len(got) != 1 || string(got[0].Content) != want || got[0].ConversationID != sent.ConversationID {
				t.Fatalf("%s answered %+v %s, want %s", to, got, got[0].Content, want)
			}
		}
		// What is no request is answered as JSON-RPC says, an answer is swallowed.
		for after, c := range []struct{ content, want string }{
			{`{"jsonrpc":"2.0","id":1}`, `{"id":null,"error":{"code":-32600,"message":"the request has no method"},"jsonrpc":"2.0"}`},
			{`[]`, `{"id":null,"error":{"code":-32600,"message":"a batch has 1 to 100 requests"},"jsonrpc":"2.0"}`},
			{`{"jsonrpc":"2.0","id":null,"method":"pong"}`, `{"id":null,"result":null,"jsonrpc":"2.0"}`},
			{`{"jsonrpc":"2.0","id":2,"method":"pong","params":{"x":1}}`, `{"id":2,"error":{"code":-32602,"message":"params: unknown field \"x\"","data":{"code":"invalid","message":"params: unknown field \"x\"","field":"params"}},"jsonrpc":"2.0"}`},
		} {
			_, err := n1.Send(t.Context(), by(laser.Secret), wire.SendMessage{To: "COORDINATOR", Content: []byte(`{"jsonrpc":"2.0","id":1,"result":null}`)}, "")
			noError(t, err)
			_, err = n1.Send(t.Context(), by(laser.Secret), wire.SendMessage{To: "COORDINATOR", Content: []byte(c.content)}, "")
			noError(t, err)
			got := n1.inbox(t, laser, uint64(2+after))
			if len(got) != 1 || string(got[0].Content) != c.want {
				t.Fatalf("%s is answered %+v, want %s", c.content, got, c.want)
			}
		}
	}, "n1", "n2")
}

// A request to a component brings its answer back.
func TestRequestToComponent(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		laser := n2.signIn(t, "laser")
		answer := func(content string) {
			got := n2.inbox(t, laser, 0)
			m := got[len(got)-1]
			_, err := n2.Send(t.Context(), by(laser.Secret), wire.SendMessage{To: m.From, ConversationID: m.ConversationID, Content: []byte(content)}, "")
			noError(t, err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			answer(`{"id":1,"result":{"power":7},"jsonrpc":"2.0"}`)
		}()
		got, err := n1.Request(t.Context(), anyone, "n2.laser", "get_parameters", json.RawMessage(`{"parameters":["power"]}`))
		noError(t, err)
		if string(got) != `{"power":7}` {
			t.Errorf("the result is %s, want the component's", got)
		}
		<-done
		go func() {
			time.Sleep(time.Second)
			answer(`{"id":1,"error":{"code":-32601,"message":"no such method"},"jsonrpc":"2.0"}`)
		}()
		_, err = n1.Request(t.Context(), anyone, "n2.laser", "dance", nil)
		refused(t, err, wire.CodeNotFound, "no such method")
		_, err = n1.Request(t.Context(), anyone, "n2.nobody", "dance", nil)
		refused(t, err, wire.CodeNotFound, "n2.nobody")
		_, err = n1.Request(t.Context(), anyone, "n2.laser", "sleep", nil)
		refused(t, err, wire.CodeUnknown, "did not answer")
		_, err = n2.Heartbeat(t.Context(), by(laser.Secret), laser.FullName)
		noError(t, err)
		patient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			time.Sleep(12 * time.Second)
			answer(`{"id":1,"result":"slept","jsonrpc":"2.0"}`)
		}()
		got, err = n1.Request(patient, anyone, "n2.laser", "sleep", nil)
		noError(t, err)
		if string(got) != `"slept"` {
			t.Errorf("after a longer time the result is %s", got)
		}
		_, err = n1.Request(t.Context(), anyone, "n2.laser", "", nil)
		refused(t, err, wire.CodeInvalid, "method")
		_, err = n2.Heartbeat(t.Context(), by(laser.Secret), laser.FullName)
		noError(t, err)
		go func() { // what it asks or tells meanwhile is no answer
			time.Sleep(time.Second)
			answer(`{"method":"progress","params":[1],"jsonrpc":"2.0"}`)
			answer(`{"id":1,"result":null,"jsonrpc":"2.0"}`)
		}()
		got, err = n1.Request(t.Context(), anyone, "n2.laser", "home", nil)
		noError(t, err)
		if string(got) != "null" {
			t.Errorf("home: the result is %s, want null", got)
		}
		go func() {
			time.Sleep(time.Second)
			answer(`{"id":1,"jsonrpc":"2.0"}`)
		}()
		_, err = n1.Request(t.Context(), anyone, "n2.laser", "mumble", nil)
		refused(t, err, wire.CodeConflict, "neither a result nor an error")
		for to, want := range map[string]bool{"COORDINATOR": true, "n1.COORDINATOR": true, "n1.laser": false, "laser": false} {
			if own, err := n1.Serves(to); own != want || err != nil {
				t.Errorf("n1 serves %s: %v, %v, want %v", to, own, err, want)
			}
		}
		_, err = n1.Serves("n2.COORDINATOR")
		refused(t, err, wire.CodeInvalid, "who is signed in there")
		synctest.Wait()
	}, "n1", "n2")
}

// An open inbox does not keep a silent component alive, and tells it why it is
// gone.
func TestInboxOfEndedSession(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		for _, at := range []*testNode{n1, n2} {
			in := n1.signIn(t, "laser")
			b, err := at.Inbox(t.Context(), by(in.Secret), in.FullName)
			noError(t, err)
			begin := time.Now()
			_, err = b.Receive(t.Context(), 0, 0)
			refused(t, err, wire.CodeNotFound, registryReason)
			if open := time.Since(begin); open < 14*time.Second || open > 26*time.Second {
				t.Errorf("read at %s: the wait ended after %v, want with the lease of 15s", at.id, open)
			}
		}
	}, "n1", "n2")
}
