package control_test

import (
	"reflect"
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// The level is raised only once every member knows the next one, also one that has never announced itself; then it is told
// before and after, once more changes nothing, and it never sinks.
func TestRaiseLevel(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		announce := func(id string, level int, server string) {
			self := w.self(id)
			self.Level, self.ServerID = level, server
			noError(t, resultError(w.apply(registry.KindAnnounce, registry.Announce{Coordinator: self})))
		}
		raise := func(n *testNode, to int) (wire.RaisedLevel, error) {
			return n.RaiseLevel(t.Context(), anyone, wire.RaiseLevel{Level: &to})
		}
		announce("n1", 2, "n1/1")
		_, err := raise(n1, 2)
		refused(t, err, wire.CodeConflict, "coordinator n2 knows level 1 only")
		announce("n2", 2, "n2/0") // its server of before
		_, err = raise(n1, 2)
		refused(t, err, wire.CodeConflict, "coordinator n2 (n2/1) has not said yet")
		got, _, err := n1.Level(t.Context(), anyone, control.Read{})
		noError(t, err)
		want := wire.Level{Level: 1, Known: 1, Members: []wire.MemberLevel{{ID: "n1", ServerID: "n1/1", Level: 2}, {ID: "n2", ServerID: "n2/1"}}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		_, err = raise(n1, 0)
		refused(t, err, wire.CodeInvalid, "at least 1")
		_, err = raise(n1, fsm.Level+1)
		refused(t, err, wire.CodeConflict, "coordinator n1 knows level")
		if level := n1.State().Level; level != 1 {
			t.Fatalf("level %d after refusals, want 1", level)
		}
		w.lag("n2") // it does not know yet that it is announced, and asks
		announce("n2", 2, "n2/1")
		raised, err := n2.RaiseLevel(t.Context(), anyone, wire.RaiseLevel{})
		noError(t, err)
		if raised.Before != 1 || raised.Level != 2 || n1.State().Level != 2 || raised.Index != n1.State().Index {
			t.Errorf("raised: %+v, the level is %d", raised, n1.State().Level)
		}
		again, err := raise(n1, 2)
		noError(t, err)
		if again.Before != 2 || again.Level != 2 {
			t.Errorf("raised again: %+v, want 2 before and after", again)
		}
		_, err = raise(n1, 1)
		refused(t, err, wire.CodeConflict, "never lowered")
		_, err = n1.CreateToken(t.Context(), anyone, wire.NewToken{Grants: []string{"admin"}}, "")
		noError(t, err)
	}, "n1", "n2")
}
