package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/wire"
)

var t0 = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)

// fake is a coordinator that is a few maps: enough to see how requests and answers
// are translated.
type fake struct {
	*control.Authenticator

	mu       sync.Mutex
	changed  chan struct{}
	index    uint64
	stale    int64 // ms, of its answers
	sessions map[string]wire.Component
	secrets  map[string]string // secret by full name
	mail     map[string][]wire.Received
	events   []wire.Event
	jobs     map[string]wire.Job
	results  []wire.PartResult

	lag      bool // the next cursor has fallen behind
	lastRead control.Read
	lastKey  string
	lastWho  control.Principal
	lastCall json.RawMessage
	refusal  error // of the next call
	filtered bool  // the caller does not see all
	sign     func(wire.SignIn) error
	snapshot snapshots.Write

	debugBreaks error // what comes of Debug once it has written
}

func newFake() *fake {
	return &fake{
		Authenticator: new(control.Authenticator),
		stale:         3,
		changed:       make(chan struct{}), index: 7, sessions: map[string]wire.Component{}, secrets: map[string]string{},
		mail: map[string][]wire.Received{}, jobs: map[string]wire.Job{},
	}
}

var _ httpapi.Control = (*fake)(nil)

// change runs under the lock and wakes who waits.
func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// takeRefusal returns the refusal of this call. mu is held.
func (f *fake) takeRefusal() error {
	err := f.refusal
	f.refusal = nil
	return err
}

func (f *fake) fresh(consistency string) control.Fresh {
	if consistency == "" {
		consistency = "default"
	}
	return control.Fresh{Index: f.index, Leader: "n1", Consistency: consistency, StaleMs: f.stale, Filtered: f.filtered}
}

// read waits as control does.
func (f *fake) read(ctx context.Context, r control.Read) (control.Fresh, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastRead = r
	if err := f.takeRefusal(); err != nil {
		return control.Fresh{}, err
	}
	if r.Wait > 0 {
		timeout := time.NewTimer(r.Wait)
		defer timeout.Stop()
		for f.index <= r.Index {
			changed := f.changed
			f.mu.Unlock()
			select {
			case <-changed:
			case <-timeout.C:
				f.mu.Lock()
				return f.fresh(r.Consistency), nil
			case <-ctx.Done():
				f.mu.Lock()
				return control.Fresh{}, wire.NotTried("the read was given up")
			}
			f.mu.Lock()
		}
	}
	return f.fresh(r.Consistency), nil
}

func (f *fake) Leads() string     { return "n1" }
func (f *fake) ClusterID() string { return "c1" }

func (f *fake) Now() control.Fresh {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fresh("stale")
}

func (f *fake) SignIn(_ context.Context, who control.Principal, in wire.SignIn, key string) (wire.SignedIn, error) {
	var out wire.SignedIn
	f.mu.Lock()
	f.lastWho, f.lastKey = who, key
	err := f.takeRefusal()
	if err == nil && f.sign != nil {
		err = f.sign(in)
	}
	f.mu.Unlock()
	if err != nil {
		return out, err
	}
	full := "n1." + in.Name
	f.change(func() {
		f.index++
		f.secrets[full] = "secret of " + in.Name
		f.sessions[full] = wire.Component{
			FullName: full, Name: in.Name, Namespace: "n1", Home: "n1", Session: "s-" + in.Name, Kind: "rest",
			Labels: in.Labels, Place: in.Place, Lease: in.Lease, Runtimes: in.Runtimes, Slots: in.Slots, Since: t0, Index: f.index,
		}
		f.events = append(f.events, wire.Event{Index: f.index, Topic: wire.TopicComponent, Kind: "signed_in", Key: full, At: t0, Data: f.sessions[full]})
		out = wire.SignedIn{FullName: full, Session: "s-" + in.Name, Secret: f.secrets[full], Namespace: "n1", Home: "n1", Lease: wire.Duration(15 * time.Second), Index: f.index}
	})
	return out, nil
}

func (f *fake) owner(full, secret string) error {
	switch known, ok := f.secrets[full]; {
	case secret == "":
		return wire.Refuse(wire.CodeUnauthorized, "no session")
	case !ok:
		return wire.Refuse(wire.CodeNotFound, "no component %q", full)
	case known != secret:
		return wire.Refuse(wire.CodeForbidden, "not your session")
	}
	return nil
}

func (f *fake) end(full string, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	f.change(func() {
		f.index++
		delete(f.sessions, full)
		delete(f.secrets, full)
	})
	return f.index, nil
}

func (f *fake) SignOut(_ context.Context, who control.Principal, full string) (uint64, error) {
	f.mu.Lock()
	err := f.owner(full, who.Secret())
	f.mu.Unlock()
	return f.end(full, err)
}

func (f *fake) RemoveComponent(_ context.Context, _ control.Principal, full, _ string) (uint64, error) {
	f.mu.Lock()
	_, ok := f.sessions[full]
	f.mu.Unlock()
	if !ok {
		return f.end(full, wire.Refuse(wire.CodeNotFound, "no component %q", full))
	}
	return f.end(full, nil)
}

func (f *fake) Heartbeat(_ context.Context, who control.Principal, full string) (wire.Beat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wire.Beat{FullName: full, Session: f.sessions[full].Session, Home: "n1", Lease: wire.Duration(15 * time.Second)}, f.owner(full, who.Secret())
}

func (f *fake) Components(ctx context.Context, _ control.Principal, r control.Read, c directory.ComponentFilter, p control.Page) (wire.Components, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	list := wire.Components{Components: []wire.Component{}}
	var names []string
	for name, s := range f.sessions {
		if name > p.After && strings.HasPrefix(name, c.Prefix) && (c.Labels == nil || s.Labels["host"] == c.Labels["host"]) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	if p.Limit == 0 {
		p.Limit = control.DefaultPage
	}
	for _, name := range names {
		if len(list.Components) == p.Limit {
			list.Next = list.Components[p.Limit-1].FullName
			break
		}
		list.Components = append(list.Components, f.sessions[name])
	}
	return list, fresh, err
}

func (f *fake) Component(ctx context.Context, _ control.Principal, r control.Read, full string) (wire.Component, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.sessions[full]
	if err == nil && !ok {
		err = wire.Refuse(wire.CodeNotFound, "no component %q", full)
	}
	return c, fresh, err
}

func (f *fake) Namespaces(ctx context.Context, _ control.Principal, r control.Read) (map[string]wire.Namespace, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	return map[string]wire.Namespace{"n1": {Coordinator: "n1", Components: []string{"laser"}}}, fresh, err
}

func (f *fake) Send(_ context.Context, _ control.Principal, in wire.SendMessage, _ string) (wire.Sent, error) {
	var err error
	f.change(func() {
		if err = f.takeRefusal(); err != nil {
			return
		}
		if _, ok := f.sessions[in.To]; !ok {
			err = wire.Refuse(wire.CodeNotFound, "nobody is signed in as %q", in.To)
			return
		}
		box := f.mail[in.To]
		f.mail[in.To] = append(box, wire.Received{Seq: uint64(len(box) + 1), To: in.To, From: "n1.sender", ConversationID: in.ConversationID, Type: 1, Content: in.Content, Payload: in.Payload})
	})
	return wire.Sent{Outcome: "delivered", ConversationID: "0192f0c1-2345-7abc-8def-0123456789ab"}, err
}

func (f *fake) Call(_ context.Context, _ control.Principal, method string, params json.RawMessage) (any, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastCall = append(json.RawMessage(nil), params...)
	switch method {
	case "pong":
		return nil, 0, f.takeRefusal()
	case "panic":
		panic("out of cheese")
	case "echo":
		return f.lastCall, 0, f.takeRefusal()
	}
	return nil, 0, wire.Refuse(wire.CodeNotFound, "no method %q", method)
}

func (f *fake) Serves(to string) (bool, error) {
	if to == "n2.COORDINATOR" {
		return false, wire.Invalid("full", "%s serves who is signed in there", to)
	}
	return to == wire.Coordinator || to == "n1.COORDINATOR", nil
}

func (f *fake) Request(_ context.Context, _ control.Principal, to, method string, params json.RawMessage) (json.RawMessage, error) {
	if to != "n1.laser" {
		return nil, wire.Refuse(wire.CodeNotFound, "nobody is signed in as %q", to)
	}
	return json.RawMessage(`{"method":"` + method + `"}`), nil
}

func (f *fake) Submit(_ context.Context, _ control.Principal, in wire.SubmitJob, _ string) (wire.Job, uint64, error) {
	j := wire.Job{ID: in.ID, Name: in.Name, State: "queued", Namespace: in.Namespace, Runtime: in.Runtime, Priority: 50, MaxAttempts: 3, Parts: wire.PartCounts{Total: len(in.Items)}, Submitted: t0, Script: in.Script}
	f.change(func() { f.index++; j.Index = f.index; f.jobs[j.ID] = j })
	return j, j.Index, nil
}

func (f *fake) CancelJob(_ context.Context, _ control.Principal, id, reason string) (wire.Job, uint64, error) {
	var err error
	var j wire.Job
	f.change(func() {
		var ok bool
		if j, ok = f.jobs[id]; !ok {
			err = wire.Refuse(wire.CodeNotFound, "no job %q", id)
			return
		}
		f.index++
		j.State, j.Reason, j.Index = "cancelled", reason, f.index
		f.jobs[id] = j
	})
	return j, j.Index, err
}

func (f *fake) ForgetJob(_ context.Context, _ control.Principal, id string) (wire.Job, uint64, error) {
	var err error
	var j wire.Job
	f.change(func() {
		var ok bool
		if j, ok = f.jobs[id]; !ok {
			err = wire.Refuse(wire.CodeNotFound, "no job %q", id)
			return
		}
		f.index++
		delete(f.jobs, id)
	})
	return j, f.index, err
}

func (f *fake) Jobs(ctx context.Context, _ control.Principal, r control.Read, c work.JobFilter, p control.Page) (wire.Jobs, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	list := wire.Jobs{Jobs: []wire.Job{}}
	for _, j := range f.jobs {
		if (c.State == "" || c.State == j.State) && (c.Namespace == "" || c.Namespace == j.Namespace) {
			list.Jobs = append(list.Jobs, j)
		}
	}
	return list, fresh, err
}

func (f *fake) Job(ctx context.Context, _ control.Principal, r control.Read, id string) (wire.Job, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	f.mu.Lock()
	defer f.mu.Unlock()
	j, ok := f.jobs[id]
	if !ok {
		err = wire.Refuse(wire.CodeNotFound, "no job %q", id)
	}
	return j, fresh, err
}

func (f *fake) Parts(ctx context.Context, _ control.Principal, r control.Read, id, _ string, _ control.Page) (wire.Parts, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	return wire.Parts{Parts: []wire.Part{{Job: id, State: "done", Attempt: 1, Item: json.RawMessage("1"), Result: json.RawMessage("null")}}}, fresh, err
}

func (f *fake) Results(ctx context.Context, _ control.Principal, r control.Read, id string, q work.ResultQuery) (iter.Seq2[wire.PartResult, error], control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	if err != nil {
		return nil, fresh, err
	}
	if _, ok := f.jobs[id]; !ok {
		return nil, fresh, wire.Refuse(wire.CodeNotFound, "no job %q", id)
	}
	return func(yield func(wire.PartResult, error) bool) {
		for sent := 0; ; {
			f.mu.Lock()
			changed, ready, state := f.changed, f.results[sent:], f.jobs[id].State
			_, known := f.jobs[id]
			f.mu.Unlock()
			for _, p := range ready {
				sent++
				p.Worker = q.Order
				if !yield(p, nil) {
					return
				}
			}
			if !known {
				yield(wire.PartResult{}, wire.Refuse(wire.CodeNotFound, "job %q was forgotten", id))
				return
			}
			if !q.Follow || state == "done" {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(wire.PartResult{}, ctx.Err())
				return
			}
		}
	}, fresh, nil
}

func (f *fake) PartLog(_ context.Context, _ control.Principal, job string, q work.LogQuery) (home.LogChunk, error) {
	text := "one\ntwo\n"
	rest := text[min(int(q.Offset), len(text)):]
	return home.LogChunk{Part: q.Part, Attempt: 1, Offset: q.Offset, Data: []byte(rest), Next: q.Offset + int64(len(rest)), End: true}, nil
}

func (f *fake) JobLogs(_ context.Context, _ control.Principal, job string, part int, _ bool) (iter.Seq2[home.LogChunk, error], error) {
	return func(yield func(home.LogChunk, error) bool) {
		for n := range 3 {
			if part >= 0 && n != part {
				continue
			}
			if !yield(home.LogChunk{Part: n, Attempt: 1, Data: []byte("line\n"), End: true}, nil) {
				return
			}
		}
	}, nil
}

func (f *fake) Workers(ctx context.Context, _ control.Principal, r control.Read) (wire.Workers, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	var list wire.Workers
	for i := range 4 {
		list.Workers = append(list.Workers, wire.Worker{
			FullName: fmt.Sprintf("n1.w%d", i), Home: "n1", Runtimes: []string{"sh"}, Slots: 2, Labels: map[string]string{"odd": strconv.Itoa(i % 2)},
		})
	}
	return list, fresh, err
}

var member = wire.Member{ID: "n1", ServerID: "n1/1", Namespace: "n1", Address: "127.0.0.1:1", Suffrage: "voter", State: "leader", Alive: true, Healthy: true}

func (f *fake) Members(ctx context.Context, _ control.Principal, r control.Read) (wire.Members, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	second := member
	second.ID, second.ServerID, second.State = "n2", "n2/2", "follower"
	return wire.Members{ConfigIndex: configIndex, Members: []wire.Member{member, second}}, fresh, err
}

func (f *fake) Autopilot(ctx context.Context, _ control.Principal, r control.Read) (wire.Autopilot, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	return wire.Autopilot{
		CleanupDead: true, DeadAfter: wire.Duration(24 * time.Hour), MinVoters: 3, Stabilization: wire.Duration(10 * time.Second), MaxLag: 250,
		FailureTolerance: -1, Servers: []wire.ServerHealth{{ID: "n1", ServerID: "n1/1", Healthy: true}, {ID: "n2", ServerID: "n2/2", Reason: "knows no leader"}},
	}, fresh, err
}

func (f *fake) SetAutopilot(ctx context.Context, who control.Principal, in wire.AutopilotSettings) (wire.Autopilot, uint64, error) {
	if in.MinVoters != nil && *in.MinVoters < 1 {
		return wire.Autopilot{}, 0, wire.Invalid("min_voters", "there is at least 1 voter")
	}
	out, _, err := f.Autopilot(ctx, who, control.Read{})
	return out, 43, err
}

// configIndex is that of the configuration, which no change of the fake changes.
const configIndex = 41

func (f *fake) AddMember(_ context.Context, _ control.Principal, in wire.AddMember, c control.MemberChange) (wire.Member, uint64, error) {
	m := member
	m.Address = in.Address
	_, err := f.changeOf("n1", c)
	return m, configIndex, err
}

func (f *fake) changeOf(id string, c control.MemberChange) (wire.MemberChangeResult, error) {
	if c.ConfigIndex != 0 && c.ConfigIndex != configIndex {
		return wire.MemberChangeResult{}, wire.Refuse(wire.CodeConflict, "the configuration is that of index %d, not %d", configIndex, c.ConfigIndex)
	}
	return wire.MemberChangeResult{ID: id, ConfigIndex: configIndex}, f.known(id)
}

func (f *fake) known(id string) error {
	if id != "n1" {
		return wire.Refuse(wire.CodeNotFound, "no coordinator %q", id)
	}
	return nil
}

func (f *fake) RemoveMember(_ context.Context, _ control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error) {
	return f.changeOf(id, c)
}

func (f *fake) Promote(_ context.Context, _ control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error) {
	return f.changeOf(id, c)
}

func (f *fake) Demote(_ context.Context, _ control.Principal, id string, c control.MemberChange) (wire.MemberChangeResult, error) {
	return f.changeOf(id, c)
}

func (f *fake) Transfer(context.Context, control.Principal, wire.Transfer) (wire.Leader, error) {
	return wire.Leader{ID: "n1", Term: 3}, nil
}

func (f *fake) Leader(context.Context, control.Principal) (wire.Leader, error) {
	return wire.Leader{ID: "n1", Term: 2}, f.takeRefusal()
}

func (f *fake) Status(context.Context, control.Principal) (wire.Status, error) {
	return wire.Status{ID: "n1", Leader: "n1"}, nil
}

func (f *fake) Digest(ctx context.Context, _ control.Principal, r control.Read) (wire.Digest, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	return wire.Digest{Index: fresh.Index, Digest: "00ff"}, fresh, err
}

func (f *fake) Level(ctx context.Context, _ control.Principal, r control.Read) (wire.Level, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	return wire.Level{Level: 1, Known: 2, Members: []wire.MemberLevel{{ID: "n1", ServerID: "n1/a", Level: 2, Version: "v1"}}}, fresh, err
}

func (f *fake) RaiseLevel(_ context.Context, _ control.Principal, in wire.RaiseLevel) (wire.RaisedLevel, error) {
	to := 2
	if in.Level != nil {
		to = *in.Level
	}
	return wire.RaisedLevel{Before: 1, Level: to, Index: 9}, f.takeRefusal()
}

type box struct {
	f    *fake
	full string
}

func (f *fake) Inbox(_ context.Context, who control.Principal, full string) (httpapi.Inbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.owner(full, who.Secret()); err != nil {
		return nil, err
	}
	return box{f, full}, nil
}

func (b box) Receive(ctx context.Context, after uint64, max int) ([]wire.Received, error) {
	for {
		b.f.mu.Lock()
		if _, ok := b.f.sessions[b.full]; !ok {
			b.f.mu.Unlock()
			return nil, wire.Refuse(wire.CodeNotFound, "the session of %s ended", b.full)
		}
		changed := b.f.changed
		var got []wire.Received
		for _, m := range b.f.mail[b.full] {
			if m.Seq > after && (max == 0 || len(got) < max) {
				got = append(got, m)
			}
		}
		b.f.mu.Unlock()
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

type cursor struct {
	f      *fake
	at     control.Position
	topics []string
	lag    bool
}

func (f *fake) Events(_ control.Principal, topics []string, after *control.Position) (httpapi.Cursor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, topic := range topics {
		if topic != wire.TopicComponent && topic != wire.TopicJob {
			return nil, wire.Invalid("topic", "no topic %q", topic)
		}
	}
	c := &cursor{f: f, topics: topics, at: control.Position{Index: f.index, Seq: 1 << 30, Cluster: "c1"}, lag: f.lag}
	f.lag = false
	if after != nil {
		c.at = *after
	}
	return c, nil
}

func (c *cursor) Filtered() bool { return c.f.filtered }

// Filtered hides the Authenticator's: the fake's caller sees what the test says.
func (f *fake) Filtered(control.Principal, control.Right) bool { return f.filtered }

func (c *cursor) At() control.Position { return c.at }

func (c *cursor) Next(ctx context.Context) ([]wire.Event, bool, error) {
	if c.lag {
		c.lag = false
		return nil, true, nil
	}
	for {
		c.f.mu.Lock()
		changed := c.f.changed
		var got []wire.Event
		for _, e := range c.f.events {
			if (e.Index > c.at.Index || e.Index == c.at.Index && e.Seq > c.at.Seq) && (c.topics == nil || strings.Contains(strings.Join(c.topics, ","), e.Topic)) {
				got = append(got, e)
			}
		}
		c.f.mu.Unlock()
		if len(got) > 0 {
			last := got[len(got)-1]
			c.at = control.Position{Index: last.Index, Seq: last.Seq, Cluster: "c1"}
			return got, false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (f *fake) Snapshot(ctx context.Context, _ control.Principal) (snapshots.Write, control.Fresh, error) {
	fresh, err := f.read(ctx, control.Read{Consistency: "strict"})
	return f.snapshot, fresh, err
}

func (f *fake) Restore(ctx context.Context, _ control.Principal, to snapshots.Target, open func(context.Context) (io.Reader, error)) (wire.Restored, error) {
	if to.Cluster == "" {
		return wire.Restored{}, wire.Invalid("cluster", "which?")
	}
	file, err := open(ctx)
	if err != nil {
		return wire.Restored{}, err
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return wire.Restored{}, wire.Invalid("", "%v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if refusal := f.takeRefusal(); refusal != nil {
		return wire.Restored{}, refusal
	}
	return wire.Restored{Cluster: to.Cluster, FileCluster: fmt.Sprint(to.Foreign, to.Key), FileIndex: 812, Rows: len(b), Index: 9}, err
}

// The fake's tokens are one: t_1.
func (f *fake) tokenRow(id string) (wire.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.takeRefusal(); err != nil {
		return wire.Token{}, err
	}
	if id != "t_1" {
		return wire.Token{}, wire.Refuse(wire.CodeNotFound, "no token %q", id)
	}
	return wire.Token{ID: id, Name: "ops", Grants: []string{"admin"}, Created: t0, CreatedBy: "n1.gui", Expires: &t0, LastUsed: &t0}, nil
}

func (f *fake) CreateToken(_ context.Context, _ control.Principal, in wire.NewToken, key string) (wire.Token, error) {
	t, err := f.tokenRow("t_1")
	f.mu.Lock()
	f.lastKey = key
	f.mu.Unlock()
	t.Token, t.Name, t.Grants, t.Index, t.Expires, t.LastUsed = "fmt_secret", in.Name, in.Grants, 9, nil, nil
	return t, err
}

func (f *fake) TokenList(ctx context.Context, _ control.Principal, r control.Read, _ control.Page) (wire.Tokens, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	if err != nil {
		return wire.Tokens{}, fresh, err
	}
	t, err := f.tokenRow("t_1")
	return wire.Tokens{Tokens: []wire.Token{t}}, fresh, err
}

func (f *fake) TokenByID(ctx context.Context, _ control.Principal, r control.Read, id string) (wire.Token, control.Fresh, error) {
	fresh, err := f.read(ctx, r)
	if err != nil {
		return wire.Token{}, fresh, err
	}
	t, err := f.tokenRow(id)
	return t, fresh, err
}

func (f *fake) OwnToken(context.Context, control.Principal) (wire.Token, error) {
	return f.tokenRow("t_1")
}

func (f *fake) RevokeToken(_ context.Context, _ control.Principal, id string) (uint64, error) {
	_, err := f.tokenRow(id)
	return 9, err
}

func (f *fake) Audit(_ context.Context, who control.Principal, after uint64, limit int) (wire.Audit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastWho = who
	if f.refusal != nil {
		return wire.Audit{}, f.refusal
	}
	out := wire.Audit{Coordinator: "n1", First: 3, Last: 9}
	for seq := max(after+1, 3); seq <= 9; seq++ {
		if len(out.Lines) == limit {
			out.Next = seq - 1
			break
		}
		out.Lines = append(out.Lines, fmt.Appendf(nil, `{"prev":"%064d","seq":%d,"at":"2026-11-30T01:02:03.004Z","coordinator":"n1","who":{},"what":"x","outcome":"done"}`, seq-1, seq))
	}
	return out, nil
}

// Debug writes the text of what was asked for.
func (f *fake) Debug(_ context.Context, who control.Principal, cpu time.Duration, start func() (io.Writer, error)) error {
	f.mu.Lock()
	f.lastWho = who
	refusal, broken := f.refusal, f.debugBreaks
	f.mu.Unlock()
	if refusal != nil {
		return refusal
	}
	w, err := start()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "a bundle with %v of the processor", cpu)
	return errors.Join(err, broken)
}

func (f *fake) AuditAnchors(_ context.Context, who control.Principal, r control.Read, coordinator string) (wire.AuditAnchors, control.Fresh, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastWho, f.lastRead = who, r
	return wire.AuditAnchors{Anchors: []wire.AuditAnchor{{Coordinator: coordinator, ServerID: coordinator + "/1", Seq: 5, Hash: fmt.Sprintf("%064d", 5), Index: 7, At: t0}}}, control.Fresh{Index: f.index}, f.refusal
}

// AuthenticateJoin lets the join token fmj_good in.
func (f *fake) AuthenticateJoin(_ context.Context, from control.Credentials) (control.Principal, error) {
	if from.Token == "fmj_good" {
		return control.Principal{}, nil
	}
	return control.Principal{}, wire.Refuse(wire.CodeUnauthorized, "the join token is not known here")
}

func (f *fake) CreateJoinToken(_ context.Context, _ control.Principal, in wire.NewJoinToken, key string) (wire.JoinToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastKey = key
	return wire.JoinToken{ID: in.ID, Token: "fmj_secret", Expires: t0.Add(time.Duration(in.TTL)), Index: 9}, f.takeRefusal()
}

func (f *fake) SignCertificate(_ context.Context, _ control.Principal, in wire.SignCertificate) (wire.SignedCertificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wire.SignedCertificate{Certificate: "signed " + in.CSR, CA: "trusted"}, f.takeRefusal()
}
