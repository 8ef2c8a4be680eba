package node

import (
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

// Clients count on a coordinator of a new cluster once its row and the cluster's level are written, in whichever order.
func TestReadyOnceTheClusterIsFounded(t *testing.T) {
	self := registry.Coordinator{ID: "n1", ServerID: "n1/1", Namespace: "n1", PeerAddr: "n1:7300", Level: fsm.Level}
	announce := func() (string, any) { return registry.KindAnnounce, registry.Announce{Coordinator: self} }
	found := func() (string, any) { return fsm.KindFound, fsm.Found{Cluster: "c1", Level: fsm.Level} }
	for name, order := range map[string][]func() (string, any){"announced first": {announce, found}, "founded first": {found, announce}} {
		m := fsm.New()
		for i := range len(order) + 1 {
			ready, why := recorded(m.View(), self)
			if done := i == len(order); ready != done || done != (why == "") {
				t.Errorf("%s: after %d writes: ready is %t %q", name, i, ready, why)
			}
			if i == len(order) {
				break
			}
			kind, body := order[i]()
			line, err := fsm.Encode(kind, time.Unix(0, 0), fsm.Author{By: "n1"}, body)
			if err != nil {
				t.Fatal(err)
			}
			if r := m.Apply(uint64(i+1), [][]byte{line})[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
}
