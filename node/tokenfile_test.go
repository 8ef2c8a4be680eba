package node_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// A session belongs to the line of the token file by which it signed in: once that is taken out, the session ends in the
// log, with the reason, and its name is free; that of another line stays.
func TestATokenTakenOutOfTheFileEndsItsSessions(t *testing.T) {
	t.Parallel()
	const goes = "another-token-that-is-taken-out-again"
	file := tokenFile(t, token, goes)
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir(), TokenFile: file})
	ready(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	operator, other := clientOf(t, token, n), clientOf(t, goes, n)
	laser, meta, err := other.SignIn(ctx, wire.SignIn{Name: "laser", Lease: wire.Duration(time.Hour)}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := operator.SignIn(ctx, wire.SignIn{Name: "camera", Lease: wire.Duration(time.Hour)}, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for e, err := range operator.Events(ctx, client.Events{Topics: []string{wire.TopicComponent}, Index: meta.Index}) {
		if err != nil {
			t.Fatalf("the session has not ended: %v", err)
		}
		if e.Key == laser.FullName {
			if e.Kind != registry.EventExpired || e.Reason != "token revoked" {
				t.Errorf("the session: %s, %q; want it %s because its token was revoked", e.Kind, e.Reason, registry.EventExpired)
			}
			break
		}
	}
	if _, _, err := operator.Component(ctx, laser.FullName, client.Read{}); wire.CodeOf(err) != wire.CodeNotFound {
		t.Errorf("its name: %v, want not_found", err)
	}
	if _, _, err := operator.Component(ctx, "n1.camera", client.Read{}); err != nil {
		t.Errorf("the session of the line that stays: %v", err)
	}
	if _, _, err := other.SignIn(ctx, wire.SignIn{Name: "laser"}, ""); wire.CodeOf(err) != wire.CodeUnauthorized {
		t.Errorf("the token that was taken out: %v, want unauthorized", err)
	}
}
