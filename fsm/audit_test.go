package fsm_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// An anchor is refused below its level, where an older binary could not read it; from then on it is kept, and a snapshot
// brings it back.
func TestAnchorsOfTrails(t *testing.T) {
	m := fsm.New()
	newer := announce("n1")
	newer.Coordinator.Level = 2
	anchor := encode(t, audit.KindAnchor, t0, audit.Anchoring{Coordinator: "n1", ServerID: "n1/1", Seq: 812, Hash: strings.Repeat("0a", 32)})
	if err := m.Check(anchor); wire.CodeOf(err) != wire.CodeConflict {
		t.Errorf("at level 1: %v", err)
	}
	m.Apply(1, [][]byte{encode(t, registry.KindAnnounce, t0, newer)})
	if got := m.Apply(2, [][]byte{anchor}); got[0].Err == nil || got[0].Err.Code != wire.CodeConflict || m.View().Audit.Of("n1") != nil {
		t.Errorf("at level 1: %+v", got[0])
	}
	got := m.Apply(3, [][]byte{encode(t, fsm.KindRaiseLevel, t0, fsm.RaiseLevel{Level: 2}), anchor})
	if got[0].Err != nil || got[1].Err != nil {
		t.Fatalf("at level 2: %+v", got)
	}
	if kept := m.View().Audit.Of("n1"); len(kept) != 1 || kept[0].Seq != 812 || kept[0].Index != 3 {
		t.Errorf("kept is %+v", kept)
	}
	var snapshot bytes.Buffer
	if _, err := m.Freeze().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	back := fsm.New()
	if err := back.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	if back.View().Fingerprint() != m.View().Fingerprint() || len(back.View().Audit.Of("n1")) != 1 {
		t.Errorf("restored is %+v", back.View().Audit.Of("n1"))
	}
}
