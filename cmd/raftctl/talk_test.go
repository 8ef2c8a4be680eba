package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client/sessiontest"
	"github.com/folkmoot/folkmoot/wire"
)

// A call prints the result, a text as it is; its params are JSON where they read as JSON.
func TestCall(t *testing.T) {
	f := coordinator(t, map[string]any{
		"GET /components":                       wire.Components{Components: []wire.Component{{FullName: "n2.laser"}}},
		"POST /call/n2.laser/fire":              map[string]any{"ok": true},
		"POST /call/n2.laser/name":              "two\nlines",
		"POST /call/n2.laser/fail":              problem(409, wire.CodeConflict, "out of power"),
		"POST /components":                      wire.SignedIn{FullName: "n1.me", Secret: "s"},
		"POST /call/COORDINATOR/send_nodes":     map[string]string{"n1": "a"},
		"DELETE /components/n1.me":              map[string]any{},
		"POST /call/n1.COORDINATOR/no_such_one": problem(404, wire.CodeNotFound, "no method"),
	})
	for _, tc := range []struct {
		args, body, out string
		code            int
	}{
		{`n2.laser fire power=3 mode=slow on={"a":1}`, `{"mode":"slow","on":{"a":1},"power":3}`, `{"ok":true}` + "\n", 0},
		{"laser fire --params [1,2]", `[1,2]`, `{"ok":true}` + "\n", 0},
		{"n2.laser name", ``, "two\nlines\n", 0},
		{"n2.laser name -o json", ``, `"two\nlines"` + "\n", 0},
		{"n2.laser fire -o yaml", ``, "ok: true\n", 0},
		{"COORDINATOR send_nodes", ``, `{"n1":"a"}` + "\n", 0},
		{"n2.laser fail", ``, "", exitFailed},
		{"n2.laser fire x", ``, "", exitUsage},
		{"n2.laser fire --params 7", ``, "", exitUsage},
		{"n2.laser fire x=1 --params {}", ``, "", exitUsage},
		{"n2.laser", ``, "", exitUsage},
	} {
		f.mu.Lock()
		f.bodies, f.requested = nil, nil
		f.mu.Unlock()
		code, out, errs := raftctl(t, f, append([]string{"call"}, strings.Fields(tc.args)...)...)
		if code != tc.code || out != tc.out {
			t.Errorf("call %s: exit %d, stdout %q, stderr %q, want %d and %q", tc.args, code, out, errs, tc.code, tc.out)
		}
		if tc.body != "" && f.bodies[len(f.bodies)-1] != tc.body {
			t.Errorf("call %s: sent %q, want %q", tc.args, f.bodies, tc.body)
		}
	}
}

// mailbox is a coordinator at which n1.me, whose session is a WebSocket, receives these messages: at once, or, if a message
// has no conversation, as an answer in that of the first message sent.
func mailbox(t *testing.T, messages ...wire.Message) *fake {
	f := coordinator(t, map[string]any{})
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); serving.Wait() })
	f.answers["GET /session"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		sessiontest.Serve(ctx, t, w, r, sessiontest.Handler{
			Name: "n1.me",
			Call: func(method string, _ json.RawMessage) (any, *wire.Error) {
				f.noteMethod(method)
				return signedIn, nil
			},
			Message: func(c *sessiontest.Conn, m *wire.Message) {
				f.noteSent(m)
				c.Acknowledge(m.ID)
				for _, come := range messages {
					if come.Conversation == ([16]byte{}) {
						come.Conversation = m.Conversation
						c.Send(come)
					}
				}
			},
			SignedIn: func(_ context.Context, c *sessiontest.Conn) {
				for _, come := range messages {
					if come.Conversation != ([16]byte{}) {
						c.Send(come)
					}
				}
			},
		})
	})
	return f
}

// signedIn is the answer to a sign-in, and good enough for a sign-out.
var signedIn = wire.Welcome{SignedIn: wire.SignedIn{
	FullName: "n1.me", Session: "s1", Secret: "s", Namespace: "n1", Home: "n1", Lease: wire.Duration(15 * time.Second), Index: 812,
}}

// noteMethod notes a request for COORDINATOR.
func (f *fake) noteMethod(method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requested, f.bodies = append(f.requested, method), append(f.bodies, "")
}

// noteSent notes a message: to whom, in which conversation, and its frames.
func (f *fake) noteSent(m *wire.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requested = append(f.requested, "message")
	f.bodies = append(f.bodies, fmt.Sprintf("%s %x %d %s", m.To, m.Conversation[15], m.Type, m.Payload))
}

// sentBy are the messages that a command sent.
func sentBy(f *fake) (sent []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, method := range f.requested {
		if method == "message" {
			sent = append(sent, f.bodies[i])
		}
	}
	return sent
}

// message is one of JSON in the n-th conversation.
func message(from string, n byte, content string) wire.Message {
	return wire.Message{From: from, Conversation: [16]byte{6: 0x70, 8: 0x80, 15: n}, Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}}
}

var come = []wire.Message{
	message("n2.gui", 1, `"hello"`),
	message("n1.COORDINATOR", 2, `{"jsonrpc":"2.0","id":7,"method":"pong","params":{"x":1}}`),
	message("n1.COORDINATOR", 3, `{"jsonrpc":"2.0","method":"event","params":{}}`),
	message("n2.gui", 4, `{"jsonrpc":"2.0","id":1,"result":5}`),
	{From: "n2.gui", Conversation: [16]byte{15: 5}, Payload: [][]byte{[]byte("raw")}},
}

// receive prints what comes; answers are not answered, calls are by a result.
func TestReceive(t *testing.T) {
	f := mailbox(t, come...)
	code, out, errs := raftctl(t, f, "receive", "--as", "me", "--count", "5", "--echo")
	if code != exitDone || errs != "signed in as n1.me\n" {
		t.Errorf("exit %d, stderr %q, want 0 and the name", code, errs)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{"n2.gui  hello", `n1.COORDINATOR  {"jsonrpc":"2.0","id":7,"method":"pong","params":{"x":1}}`, `"event"`, `"result":5`, "n2.gui  raw"} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("line %d of %q, want %q in it", i, lines, want)
		}
	}
	want := []string{
		`n2.gui 1 1 ["hello"]`,
		`n1.COORDINATOR 2 1 [{"id":7,"jsonrpc":"2.0","result":{"x":1}}]`,
		`n2.gui 5 0 [raw]`,
	}
	if got := sentBy(f); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("--echo sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasSuffix(f.requests(), "sign_out") {
		t.Errorf("it did not sign out: %s", f.requests())
	}
}

// A command answers: with what it writes, as JSON or text, or with its failure where somebody waits for a result.
func TestReceiveByACommand(t *testing.T) {
	f := mailbox(t, come[:2]...)
	raftctl(t, nil, "receive", "--as", "me", "--count", "2", "--addr", f.URL, "--", "sh", "-c", `printf '["%s","%s",%s]' "$FOLKMOOT_FROM" "$FOLKMOOT_METHOD" "$(cat)"`)
	got := sentBy(f)
	if len(got) != 2 || got[0] != `n2.gui 1 1 [["n2.gui","","hello"]]` ||
		got[1] != `n1.COORDINATOR 2 1 [{"id":7,"jsonrpc":"2.0","result":["n1.COORDINATOR","pong",{"x":1}]}]` {
		t.Errorf("sent %q, want what the command wrote", got)
	}
	f = mailbox(t, come[:2]...)
	_, _, errs := raftctl(t, nil, "receive", "--as", "me", "--count", "2", "--addr", f.URL, "--", "false")
	got = sentBy(f)
	if want := `n1.COORDINATOR 2 1 [{"error":{"code":-32000,"message":"false: exit status 1"},"id":7,"jsonrpc":"2.0"}]`; len(got) != 1 || got[0] != want {
		t.Errorf("a command that fails: sent %q, want %q alone", got, want)
	}
	if !strings.Contains(errs, "answer to n2.gui: false: exit status 1") {
		t.Errorf("a command that fails: stderr %q", errs)
	}
}

// send --wait prints the answer in the same conversation and nothing else.
func TestSendAndWait(t *testing.T) {
	other := message("n2.gui", 9, `"not this"`)
	answer := func(from, content string) wire.Message {
		m := message(from, 0, content)
		m.Conversation = [16]byte{}
		return m
	}
	f := mailbox(t, other, answer("n2.laser", `"fine"`))
	code, out, errs := raftctl(t, f, "send", "n2.laser", "how are you?", "--as", "me", "--wait")
	if code != exitDone || out != "fine\n" {
		t.Errorf("exit %d, stdout %q, stderr %q, want 0 and the answer", code, out, errs)
	}
	f = mailbox(t, other)
	code, out, errs = raftctl(t, f, "send", "n2.laser", "x", "--as", "me", "--wait", "--timeout", "3s")
	if want := "n2.laser has it, and did not answer within 3s"; code != exitFailed || out != "" || !strings.Contains(errs, want) {
		t.Errorf("no answer: exit %d, stdout %q, stderr %q, want 1 and %q", code, out, errs, want)
	}
	f = mailbox(t, answer("n1.COORDINATOR", `{"jsonrpc":"2.0","id":null,"error":{"code":-32093,"message":"gone"}}`))
	if code, _, errs = raftctl(t, f, "send", "n2.laser", "x", "--wait"); code != exitFailed || !strings.Contains(errs, "gone") {
		t.Errorf("an error as the answer: exit %d, stderr %q, want 1 and the error", code, errs)
	}
}

// A context is added by the flags that it keeps; the list has no token in it.
func TestContextsAdd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fresh")
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Chdir(t.TempDir())
	write(t, "tok", "x")
	for _, tc := range []struct {
		args, says string
		code       int
	}{
		{"lab --addr n1:7380,n2:7380 --token-file tok --timeout 30s", "context lab added, the current one\n", 0},
		{"other --addr n9:7380 --token hush", "context other added\n", 0},
		{"other --addr n9:7381", "", exitUsage},
		{"other --addr n9:7381 --token hush --replace --use", "context other added, the current one\n", 0},
		{"bare", "", exitUsage},
		{"none --addr n1:7380 --token-file nowhere", "", exitUsage},
		{"none --addr n1:7380 -o xml", "", exitUsage},
	} {
		code, out, errs := raftctl(t, nil, append([]string{"contexts", "add"}, strings.Fields(tc.args)...)...)
		if code != tc.code || out != tc.says {
			t.Errorf("contexts add %s: exit %d, stdout %q, stderr %q, want %d and %q", tc.args, code, out, errs, tc.code, tc.says)
		}
	}
	code, out, _ := raftctl(t, nil, "contexts", "list", "-o", "json")
	var list struct {
		Contexts []struct {
			Name, Addr, Timeout string
			Current             bool
			TokenFile           string `json:"token_file"`
		}
	}
	if err := json.Unmarshal([]byte(out), &list); code != exitDone || err != nil || len(list.Contexts) != 2 || strings.Contains(out, "hush") {
		t.Fatalf("contexts list -o json: exit %d, %v: %s", code, err, out)
	}
	lab, other := list.Contexts[0], list.Contexts[1]
	if lab.Addr != "n1:7380,n2:7380" || lab.Timeout != "30s" || !filepath.IsAbs(lab.TokenFile) || lab.Current || other.Addr != "n9:7381" || !other.Current {
		t.Errorf("contexts are %+v", list.Contexts)
	}
	if _, out, _ := raftctl(t, nil, "contexts", "list", "-o", "name"); out != "context/lab\ncontext/other\n" {
		t.Errorf("-o name: got %q", out)
	}
}
