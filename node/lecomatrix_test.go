package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/methods"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// lecoMethod is what a method of the LECO door is asked with, and whether who comes without a token may: sign in under
// this coordinator's namespace, send, and see components; nothing else.
type lecoMethod struct {
	params string
	may    bool
}

// lecoMethods has every method of the door; TestEveryMethodOfLECO holds its keys to the product.
var lecoMethods = map[string][]lecoMethod{
	"pong": {{`{}`, true}}, "send_local_components": {{`{}`, true}}, "send_global_components": {{`{}`, true}}, "send_nodes": {{`{}`, true}},
	"rpc.discover": {{`{}`, true}}, "coordinators": {{`{}`, true}},
	"lookup":     {{`{"name":"n1.nobody"}`, true}, {`{"name":"n2.nobody"}`, true}},
	"components": {{`{}`, true}, {`{"namespace":"n2"}`, true}},
	"sign_in":    {{`{}`, true}}, "sign_out": {{`{}`, true}},

	"jobs.submit": {{`{"runtime":"sh","script":"true","items":[1]}`, false}, {`{"runtime":"sh","script":"true","items":[1],"namespace":"n1"}`, false}},
	"jobs.get":    {{`{"id":"quality"}`, false}, {`{"id":"nothing"}`, false}},
	"jobs.cancel": {{`{"id":"quality"}`, false}, {`{"id":"nothing"}`, false}},
	"jobs.forget": {{`{"id":"quality"}`, false}}, "jobs.results": {{`{"id":"quality"}`, false}},

	// Of the parts that its own session was given, which are none without jobs:work.
	"start_parts":  {{`{"parts":[{"job":"quality","part":0,"attempt":1}]}`, true}},
	"finish_parts": {{`{"parts":[{"job":"quality","part":0,"attempt":1,"state":"done","result":1}]}`, true}},
	"append_log":   {{`{"job":"quality","part":0,"attempt":1,"offset":0,"data":"eA=="}`, true}},
	"sync_parts":   {{`{"holding":[]}`, true}},

	"set_log_level": {{`{"level":"DEBUG"}`, false}}, "shut_down": {{`{}`, false}},
	"coordinator_sign_in": {{`{}`, false}}, "coordinator_sign_out": {{`{}`, false}},
	"add_nodes":         {{`{"nodes":{"n8":"127.0.0.1:1"}}`, false}},
	"record_components": {{`{"components":["a"]}`, false}}, "remove_expired_addresses": {{`{"expiration_time":0}`, false}},
}

// A caller of the LECO door, which has no place for tokens, may do what is promised of it and nothing else, from when on
// tokens are asked for: by a file, or since one was made, also if it was signed in before; wherever the door is open.
func TestEveryMethodOfLECO(t *testing.T) {
	t.Parallel()
	var product []string
	for _, m := range methods.Describe(control.DoorLECO) {
		product = append(product, m.Name)
	}
	product = append(product, "rpc.discover")
	slices.Sort(product)
	if got := slices.Sorted(maps.Keys(lecoMethods)); !slices.Equal(got, product) {
		t.Fatalf("lecoMethods has %q, the product %q: write down what may be asked without a token", got, product)
	}
	for name, door := range map[string]struct {
		byFile bool
		open   []string
	}{"tokens of a file": {true, nil}, "tokens of the state": {false, nil}, "an open door": {true, []string{"leco"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := node.Config{ID: "n1", DataDir: t.TempDir(), LECOAddr: "127.0.0.1:0", OpenDoors: door.open, ElectionTimeout: 5 * time.Second, HeartbeatTimeout: 5 * time.Second}
			if door.byFile {
				cfg.TokenFile = tokenFile(t, token)
			}
			n := run(t, cfg)
			ready(t, n)
			operator := clientOf(t, token, n)
			before := dealAs(t, n.Addrs().LECO, "before")
			before.signIn(operator)
			if !door.byFile {
				operator = tokenOfState(t, operator, n)
			}
			job := wire.SubmitJob{ID: "quality", Runtime: "sh", Script: "true", Items: rawItems("1")}
			if _, _, err := operator.Submit(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			after := dealAs(t, n.Addrs().LECO, "after")
			after.signIn(operator)
			for _, d := range []*dealing{before, after} {
				d.askAll()
			}
			left, _, err := operator.Job(t.Context(), "quality", client.Read{Consistency: "strict"})
			if err != nil || left.State != "queued" {
				t.Errorf("the job: %+v, %v, want it as it was", left, err)
			}
			if all, _, err := operator.Jobs(t.Context(), client.Jobs{}); err != nil || len(all.Jobs) != 1 {
				t.Errorf("the jobs: %+v, %v, want one", all, err)
			}
			if !n.Ready() {
				t.Error("the coordinator has stopped")
			}
		})
	}
}

// tokenOfState makes a token, so that tokens are asked for, and returns a client that has it.
func tokenOfState(t *testing.T, anybody *client.Client, n *node.Node) *client.Client {
	t.Helper()
	if _, _, err := anybody.RaiseLevel(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	made, _, err := anybody.CreateToken(t.Context(), wire.NewToken{Grants: []string{"admin"}})
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(t, made.Token, n)
}

// dealing is a component of LECO.
type dealing struct {
	t    *testing.T
	conn *zmtp.Conn
	name string
	sent int
}

func dealAs(t *testing.T, addr, name string) *dealing {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := zmtp.Dial(ctx, addr, zmtp.Config{Socket: "DEALER"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return &dealing{t: t, conn: conn, name: name}
}

// send sends a content to somebody and returns the content of the answer in its conversation.
func (d *dealing) send(to, content string) []byte {
	d.t.Helper()
	d.sent++
	conversation := fmt.Sprintf("conversation%04d", d.sent)
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	if err := d.conn.SendWait(ctx, []byte{0}, []byte(to), []byte(d.name), []byte(conversation+"\x00\x00\x00\x01"), []byte(content)); err != nil {
		d.t.Fatal(err)
	}
	limit := time.AfterFunc(time.Minute, d.conn.Close)
	defer limit.Stop()
	for {
		frames, err := d.conn.Receive()
		if err != nil {
			d.t.Fatalf("%s sends %s to %s: %v", d.name, content, to, err)
		}
		if len(frames) > 4 && strings.HasPrefix(string(frames[3]), conversation) {
			return frames[4]
		}
	}
}

// ask asks COORDINATOR and returns the code of its refusal; "" is none.
func (d *dealing) ask(method, params string) wire.Code {
	d.t.Helper()
	said := d.send("COORDINATOR", fmt.Sprintf(`{"id":1,"method":%q,"params":%s,"jsonrpc":"2.0"}`, method, params))
	var in struct {
		Error *struct {
			Code int
			Data json.RawMessage
		}
	}
	if err := json.Unmarshal(said, &in); err != nil {
		d.t.Fatalf("%s is answered %q", method, said)
	}
	var refused struct{ Code wire.Code }
	if in.Error == nil {
		return ""
	}
	if json.Unmarshal(in.Error.Data, &refused) != nil || refused.Code == "" {
		return wire.Code(fmt.Sprint(in.Error.Code))
	}
	return refused.Code
}

// signIn signs in, and waits until that is written.
func (d *dealing) signIn(operator *client.Client) {
	d.t.Helper()
	if refused := d.ask("sign_in", `{}`); refused != "" {
		d.t.Fatalf("%s signs in: %s", d.name, refused)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for {
		_, meta, err := operator.Component(ctx, "n1."+d.name, client.Read{Consistency: "strict"})
		if err == nil {
			return
		}
		if wire.CodeOf(err) != wire.CodeNotFound {
			d.t.Fatal(err)
		}
		if _, _, err := operator.Components(ctx, client.Components{Read: client.Read{Index: meta.Index, Wait: time.Second}}); err != nil {
			d.t.Fatal(err)
		}
	}
}

// askAll asks every method as one that is signed in, to sign out at the end.
func (d *dealing) askAll() {
	d.t.Helper()
	const notSignedIn = "-32090"
	names := slices.Sorted(maps.Keys(lecoMethods))
	names = slices.DeleteFunc(names, func(name string) bool { return name == "sign_out" })
	for _, name := range append(names, "sign_out") {
		for _, m := range lecoMethods[name] {
			if got := d.ask(name, m.params); got == notSignedIn || (got != wire.CodeForbidden) != m.may {
				d.t.Errorf("%s asks for %s with %s: got %q, want it allowed: %t", d.name, name, m.params, got, m.may)
			}
		}
	}
	if got := d.ask("send_nodes", `{}`); got != notSignedIn {
		d.t.Errorf("%s has signed out and asks on: got %q", d.name, got)
	}
}
