package fsm_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Settings of the autopilot want level 2, are set one by one, are refused if no leader
// could go by them, and come back from a snapshot.
func TestAutopilotSettings(t *testing.T) {
	m := fsm.New()
	index := uint64(0)
	apply := func(kind string, body any) *wire.Error {
		t.Helper()
		index++
		return m.Apply(index, [][]byte{encode(t, kind, t0, body)})[0].Err
	}
	if err := apply(fsm.KindAutopilot, wire.AutopilotSettings{MinVoters: new(5)}); wire.CodeOf(asError(err)) != wire.CodeConflict {
		t.Errorf("at level 1: %v, want conflict", err)
	}
	if err := apply(fsm.KindFound, fsm.Found{Cluster: "c1", Level: 2}); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []wire.AutopilotSettings{
		{DeadAfter: new(wire.Duration(0))},
		{MinVoters: new(0)},
		{Stabilization: new(wire.Duration(-1))},
		{MaxLag: new(uint64(0))},
	} {
		if err := apply(fsm.KindAutopilot, wrong); wire.CodeOf(asError(err)) != wire.CodeInvalid {
			t.Errorf("%+v: %v, want invalid", wrong, err)
		}
	}
	if m.View().Autopilot != (wire.AutopilotSettings{}) {
		t.Errorf("a refused setting has left %+v", m.View().Autopilot)
	}
	for _, c := range []wire.AutopilotSettings{{MinVoters: new(5), CleanupDead: new(false)}, {DeadAfter: new(wire.Duration(time.Minute))}, {CleanupDead: new(true)}} {
		if err := apply(fsm.KindAutopilot, c); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := m.Freeze().WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	again := fsm.New()
	if err := again.Restore(&out); err != nil {
		t.Fatal(err)
	}
	for _, s := range []wire.AutopilotSettings{m.View().Autopilot, again.View().Autopilot} {
		if !*s.CleanupDead || *s.MinVoters != 5 || *s.DeadAfter != wire.Duration(time.Minute) || s.MaxLag != nil || s.Stabilization != nil {
			t.Errorf("set is %+v", s)
		}
	}
	if m.View().Fingerprint() != again.View().Fingerprint() {
		t.Error("the fingerprint is another after a snapshot")
	}
}
