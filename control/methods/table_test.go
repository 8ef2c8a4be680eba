package methods

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// noReplica and noMail are what no method gets as far as to use.
type (
	noReplica struct{ control.Replica }
	noMail    struct{ home.Mail }
)

// closed is a COORDINATOR that lets nobody in without a token.
func closed(t *testing.T) *Coordinator {
	t.Helper()
	tokens, err := control.NewAuthenticator([]string{control.HashToken("one")})
	if err != nil {
		t.Fatal(err)
	}
	core, err := control.New(control.Config{
		Machine: fsm.New(), Replica: noReplica{}, Self: registry.Coordinator{ID: "n1", Namespace: "n1"}, Authenticator: tokens,
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := home.New(home.Config{Core: core, Mail: noMail{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return New(core, h, directory.New(core, h), work.New(core, h))
}

// Every method of COORDINATOR has a right, and refuses who was not let in: its use case does, which gets the caller's
// principal, and alone knows of which namespace the right is needed.
func TestEveryMethodAuthorizes(t *testing.T) {
	t.Parallel()
	c := closed(t)
	stranger := caller{session: registry.Session{ID: "s", FullName: "n2.gui", Namespace: "n2", Name: "gui", Home: "n2"}}
	params := json.RawMessage(`{}`)
	for name, m := range table {
		if m.right == "" {
			t.Errorf("%s needs no right", name)
		}
		if m.do == nil {
			continue
		}
		if _, _, err := c.call(t.Context(), stranger, name, params); wire.CodeOf(err) != wire.CodeUnauthorized {
			t.Errorf("%s: got %v, want it refused as unauthorized", name, err)
		}
	}
}

// What a door carries out itself is refused to who was not let in, too.
func TestDoorMethodsAreAuthorized(t *testing.T) {
	t.Parallel()
	c := closed(t)
	for _, name := range CarriedOutBy(control.DoorNative) {
		content, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": name})
		if err != nil {
			t.Fatal(err)
		}
		answer := c.serveOne(t.Context(), caller{}, content, carriesNothing{t})
		if answer == nil || answer.Error == nil {
			t.Errorf("%s: got %+v, want a refusal", name, answer)
		}
	}
}

// carriesNothing is a door that must not be asked.
type carriesNothing struct{ t *testing.T }

func (d carriesNothing) Carry(_ context.Context, method string, _ json.RawMessage) (any, bool, error) {
	d.t.Errorf("%s was carried out", method)
	return nil, true, nil
}

func (carriesNothing) Way() Way { return Way{} }
