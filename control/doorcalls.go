package control

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

func may(name, kind string) param { return param{Name: name, Schema: map[string]any{"type": kind}} }

func answered[R any](out R, index uint64, err error) (any, uint64, error) { return out, index, err }

// What the methods take and answer that LECO does not know: directory and jobs
// for sessions that have no REST (docs/protocol.md, section 5).
type (
	lookupIn struct {
		Name string `json:"name"`
	}
	listIn struct {
		Namespace string            `json:"namespace"`
		Prefix    string            `json:"prefix"`
		Labels    map[string]string `json:"labels"`
		After     string            `json:"after"`
		Limit     int               `json:"limit"`
		Index     uint64            `json:"index"`
	}
	jobIn struct {
		ID   string        `json:"id"`
		Wait wire.Duration `json:"wait"`
	}
	cancelIn struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
	}
	resultsIn struct {
		ID    string `json:"id"`
		After *int   `json:"after"`
		Limit int    `json:"limit"`
	}
	listed struct {
		wire.Components
		Index uint64 `json:"index"`
	}
	results struct {
		Results []wire.PartResult `json:"results"`
		Next    *int              `json:"next,omitempty"`
	}
)

// lookup looks once more in a fresh view before it says that there is nobody.
func (c *Control) lookup(ctx context.Context, s registry.Session, in lookupIn) (any, uint64, error) {
	full := in.Name
	if !strings.Contains(full, ".") {
		full = registry.FullName(s.Namespace, full)
	}
	if row, ok := c.machine.View().Registry.Session(full); ok {
		return component(row), 0, nil
	}
	out, _, err := c.Component(ctx, asSession(s), Read{Consistency: "strict"}, full)
	return out, 0, err
}

func (c *Control) listed(ctx context.Context, s registry.Session, in listIn) (any, uint64, error) {
	list, fresh, err := c.Components(ctx, asSession(s), Read{Index: in.Index},
		ComponentFilter{Namespace: in.Namespace, Prefix: in.Prefix, Labels: in.Labels}, Page{Limit: in.Limit, After: in.After})
	return listed{list, fresh.Index}, 0, err
}

// submitted reads params as POST /v1/jobs reads its body, but for the key.
func (c *Control) submitted(ctx context.Context, s registry.Session, raw json.RawMessage) (any, uint64, error) {
	var in struct {
		wire.SubmitJob
		Key string `json:"key"`
	}
	if err := jsonrpc.DecodeParams(raw, []string{"runtime", "script"}, &in); err != nil {
		return nil, 0, err
	}
	if err := wire.CheckZeros(raw); err != nil {
		return nil, 0, err
	}
	return answered(c.Submit(ctx, asSession(s), in.SubmitJob, in.Key))
}

// longestJobWait bounds the wait of jobs.get: it holds up what the session asks
// next.
const longestJobWait = 30 * time.Second

func (c *Control) awaited(ctx context.Context, _ registry.Session, in jobIn) (any, uint64, error) {
	if in.Wait < 0 || time.Duration(in.Wait) > longestJobWait {
		return nil, 0, wire.Invalid("wait", "wait is at most %v", longestJobWait)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(in.Wait)+readTimeout)
	defer cancel()
	view, _, err := c.View(ctx, Read{})
	if err != nil {
		return nil, 0, err
	}
	over := time.NewTimer(time.Duration(in.Wait))
	defer over.Stop()
	for {
		changed := c.machine.Feed().Changed()
		if latest := c.machine.View(); latest.Index > view.Index {
			view = latest
		}
		j, err := jobOf(view, in.ID)
		if err != nil || in.Wait == 0 || jobs.Final(j.State) {
			return jobWire(view, j, true), 0, err
		}
		select {
		case <-changed:
		case <-over.C:
			return jobWire(view, j, true), 0, nil
		case <-ctx.Done():
			return nil, 0, wire.NotTried("the wait was given up: %v", ctx.Err())
		}
	}
}

// roomForResults is how many bytes of results one answer holds, and one more.
const roomForResults = 4 << 20

func (c *Control) ended(ctx context.Context, _ registry.Session, in resultsIn) (any, uint64, error) {
	limit, err := Page{Limit: in.Limit}.size()
	if err != nil {
		return nil, 0, err
	}
	view, _, err := c.View(ctx, Read{})
	if err != nil {
		return nil, 0, err
	}
	if _, err := jobOf(view, in.ID); err != nil {
		return nil, 0, err
	}
	after := -1
	if in.After != nil {
		after = min(max(*in.After, -1), math.MaxInt32)
	}
	out, size := results{Results: []wire.PartResult{}}, 0
	for p := range partsAfter(view, in.ID, after) {
		if !jobs.Final(p.State) {
			continue
		}
		if len(out.Results) == limit || size > roomForResults {
			out.Next = &out.Results[len(out.Results)-1].Part
			break
		}
		out.Results = append(out.Results, p.Line())
		size += len(p.Result) + len(p.Error) + 128
	}
	return out, 0, nil
}
