package propose_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// logFunc is a log of one function.
type logFunc func(ctx context.Context, command []byte) (uint64, any, error)

func (f logFunc) Propose(ctx context.Context, command []byte) (uint64, any, error) {
	return f(ctx, command)
}

// Every proposal ends in one of four ways, and is counted as that.
func TestOutcomes(t *testing.T) {
	var answer error
	var value any
	proposed := 0
	p := propose.New(logFunc(func(context.Context, []byte) (uint64, any, error) {
		proposed++
		return 7, value, answer
	}), nil)
	for _, c := range []struct {
		name    string
		body    any
		value   any
		answer  error
		code    wire.Code
		outcome string
	}{
		{name: "done", body: fsm.Found{Cluster: "c1"}, value: "c1", outcome: "done"},
		{name: "refused by the log", body: fsm.Found{Cluster: "c1"}, answer: wire.Refuse(wire.CodeConflict, "no"), code: wire.CodeConflict, outcome: "refused"},
		{name: "beyond the limits", body: registry.Expire{Reason: strings.Repeat("x", registry.MaxReason+1)}, code: wire.CodeInvalid, outcome: "refused"},
		{name: "too large", body: strings.Repeat("x", wire.MaxCommand), code: wire.CodeTooLarge, outcome: "refused"},
		{name: "no JSON", body: make(chan int), code: wire.CodeInvalid, outcome: "refused"},
		{name: "no leader", body: fsm.Found{Cluster: "c1"}, answer: wire.NotTried("no leader"), code: wire.CodeUnavailable, outcome: "not_tried"},
		{name: "lost", body: fsm.Found{Cluster: "c1"}, answer: errors.New("leadership lost"), code: wire.CodeUnknown, outcome: "unknown"},
		{name: "another reply", body: fsm.Found{Cluster: "c1"}, value: 1, code: wire.CodeUnknown, outcome: "unknown"},
	} {
		before := p.Outcomes()
		value, answer = c.value, c.answer
		_, _, err := propose.Do[string](t.Context(), p, fsm.KindFound, propose.System("test"), c.body)
		if wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want code %q", c.name, err, c.code)
		}
		before[c.outcome]++
		if got := p.Outcomes(); !maps.Equal(got, before) {
			t.Errorf("%s: counted %v, want %v", c.name, got, before)
		}
	}
	if proposed != 5 {
		t.Errorf("%d commands reached the log, want 5: what is beyond the limits does not", proposed)
	}
}

// A proposal without a deadline ends, and one with its own keeps it.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := propose.New(logFunc(func(ctx context.Context, _ []byte) (uint64, any, error) {
			<-ctx.Done()
			return 0, nil, ctx.Err()
		}), nil)
		for _, want := range []time.Duration{propose.Timeout, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), want)
			if want == propose.Timeout {
				ctx = context.Background()
			}
			began := time.Now()
			_, _, err := propose.Do[string](ctx, p, fsm.KindFound, propose.System("test"), fsm.Found{Cluster: "c1"})
			cancel()
			if took := time.Since(began); took != want || wire.CodeOf(err) != wire.CodeUnknown {
				t.Errorf("ended after %v with %v, want unknown after %v", took, err, want)
			}
		}
	})
}
