package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The cluster is told each newest line once, nothing before the trail was held to what it knows; that it can be told nothing
// is logged once a minute has passed, and that it can be again.
func TestAnchorerTellsAndWarns(t *testing.T) {
	t.Parallel()
	var (
		logged    bytes.Buffer
		now       = time.Date(2026, 11, 2, 15, 4, 5, 0, time.UTC)
		newest    uint64
		holdFails error
		tellFails error
		anchors   = true
		told      []uint64
	)
	a := anchorer{
		log: slog.New(slog.NewTextHandler(&logged, nil)), now: func() time.Time { return now },
		newest: func() (uint64, string) { return newest, "" },
		hold:   func(context.Context) error { return holdFails },
		tell: func(_ context.Context, seq uint64, _ string) (bool, error) {
			if tellFails == nil && anchors {
				told = append(told, seq)
			}
			return tellFails == nil && anchors, tellFails
		},
	}
	down := errors.New("there is no leader")
	for i, s := range []struct {
		newest     uint64
		hold, tell error
		anchors    bool
		told       int
		log        string
	}{
		{0, down, nil, true, 0, ""},
		{5, down, nil, true, 0, ""},
		{5, nil, nil, false, 0, ""}, // no anchors at this level: no fault
		{5, nil, nil, true, 1, ""},
		{5, nil, nil, true, 1, ""},
		{6, nil, down, true, 1, ""},
		{6, nil, down, true, 1, ""},
		{6, nil, down, true, 1, ""},
		{6, nil, down, true, 1, "level=WARN"},
		{7, nil, down, true, 1, ""},
		{7, nil, nil, true, 2, "level=INFO"},
		{7, nil, down, true, 2, ""},
	} {
		logged.Reset()
		newest, holdFails, tellFails, anchors = s.newest, s.hold, s.tell, s.anchors
		a.step(t.Context())
		now = now.Add(25 * time.Second)
		if len(told) != s.told || s.log == "" && logged.Len() > 0 || strings.Count(logged.String(), "\n") > 1 || !strings.Contains(logged.String(), s.log) {
			t.Errorf("step %d: told are %v, logged %q", i, told, &logged)
		}
	}
}
