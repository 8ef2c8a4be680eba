package fsm_test

import (
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
)

var t0 = time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC)

func encode(tb testing.TB, kind string, at time.Time, body any) []byte {
	tb.Helper()
	line, err := fsm.Encode(kind, at, "test", body)
	if err != nil {
		tb.Fatalf("encode %s: %v", kind, err)
	}
	return line
}

func announce(id string) registry.Announce {
	return registry.Announce{Coordinator: registry.Coordinator{
		ID: id, ServerID: id + "/1", Namespace: id, PeerAddr: id + ":7300", Level: fsm.Level,
	}}
}
