package methods

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

func may(name, kind string) Param { return Param{Name: name, Schema: map[string]any{"type": kind}} }

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

func (c *Coordinator) lookup(ctx context.Context, from caller, in lookupIn) (any, uint64, error) {
	full := in.Name
	if !strings.Contains(full, ".") {
		full = registry.FullName(from.session.Namespace, full)
	}
	out, err := c.directory.Lookup(ctx, from.who, full)
	return out, 0, err
}

func (c *Coordinator) listed(ctx context.Context, from caller, in listIn) (any, uint64, error) {
	list, fresh, err := c.directory.Components(ctx, from.who, control.Read{Index: in.Index},
		directory.ComponentFilter{Namespace: in.Namespace, Prefix: in.Prefix, Labels: in.Labels}, control.Page{Limit: in.Limit, After: in.After})
	return listed{list, fresh.Index}, 0, err
}

// submitted reads params as POST /v1/jobs reads its body, but for the key.
func (c *Coordinator) submitted(ctx context.Context, from caller, raw json.RawMessage) (any, uint64, error) {
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
	return answered(c.work.Submit(ctx, from.who, in.SubmitJob, in.Key))
}

func (c *Coordinator) awaited(ctx context.Context, from caller, in jobIn) (any, uint64, error) {
	job, err := c.work.AwaitJob(ctx, from.who, in.ID, time.Duration(in.Wait))
	return job, 0, err
}

func (c *Coordinator) ended(ctx context.Context, from caller, in resultsIn) (any, uint64, error) {
	after := -1
	if in.After != nil {
		after = *in.After
	}
	list, more, err := c.work.EndedResults(ctx, from.who, in.ID, after, in.Limit)
	if err != nil {
		return nil, 0, err
	}
	out := results{Results: list}
	if more {
		out.Next = &list[len(list)-1].Part
	}
	return out, 0, nil
}

func (c *Coordinator) startParts(ctx context.Context, from caller, in wire.PartRefs) (any, uint64, error) {
	return answered(c.work.StartParts(ctx, from.who, from.session, in))
}

func (c *Coordinator) finishParts(ctx context.Context, from caller, in wire.FinishParts) (any, uint64, error) {
	return answered(c.work.FinishParts(ctx, from.who, from.session, in))
}

func (c *Coordinator) syncParts(ctx context.Context, from caller, in wire.SyncParts) (any, uint64, error) {
	todo, err := c.work.SyncParts(ctx, from.who, from.session, in)
	return todo, 0, err
}

func (c *Coordinator) appendLog(ctx context.Context, from caller, in wire.AppendLog) (any, uint64, error) {
	out, err := c.work.AppendLog(ctx, from.who, from.session, in)
	return out, 0, err
}
