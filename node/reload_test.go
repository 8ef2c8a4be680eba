package node_test

import (
	"errors"
	"testing"

	"github.com/folkmoot/folkmoot/node"
)

// Every part is asked to read its files again, whatever the one before it says.
func TestReloadAsksEveryPart(t *testing.T) {
	n, err := node.Open(t.Context(), node.Config{ID: "solo", DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close(t.Context())
	asked := 0
	n.OnReload("one", func() error { asked++; return errors.New("half written") })
	n.OnReload("two", func() error { asked++; return nil })
	n.Reload()
	if asked != 2 {
		t.Errorf("%d of 2 parts were asked", asked)
	}
}
