package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// tour is the steps of the demo; every step checks what it prints.
type tour struct {
	fleet   *fleet
	printer *printer
	options demoOptions

	api     *client.Client
	parties map[string]*client.Session // by name
	src     string
	items   []json.RawMessage
	want    census
	killed  string
}

type step struct {
	title string
	play  func(context.Context) error
}

func (t *tour) steps() []step {
	return []step{
		{"Three coordinators meet and elect a leader", t.foundCluster},
		{"Components sign in, each at another coordinator", t.signIn},
		{"A message crosses from one coordinator to another", t.message},
		{"A job on real input: workers at all three count the Go standard library", t.firstJob},
		{"The leader is killed (kill -9) while a second copy of the job runs", t.secondJob},
		{"Everything is still there", t.checkSignIns},
		{"The dead coordinator comes back and catches up", t.restartLeader},
	}
}

func (t *tour) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, s := range t.parties {
		s.Close(ctx)
	}
	if t.api != nil {
		t.api.Close()
	}
}

// poll calls ok until it returns nil; its error names what was waited for.
func poll(ctx context.Context, what string, limit time.Duration, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s within %s: %w", what, limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// client returns a client of one coordinator alone.
func (t *tour) client(name string) (*client.Client, error) {
	return client.New(client.Config{Addrs: []string{t.fleet.proc(name).http}, Timeout: 5 * time.Second})
}

func (t *tour) foundCluster(ctx context.Context) error {
	began := time.Now()
	if err := t.fleet.coordinators(3); err != nil {
		return err
	}
	api, err := client.New(client.Config{Addrs: t.fleet.addrs(), Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	t.api = api
	var members wire.Members
	err = poll(ctx, "three voters and a leader", 30*time.Second, func(ctx context.Context) error {
		if err := t.fleet.dead(); err != nil {
			return err
		}
		members, _, err = api.Members(ctx, client.Read{})
		if err != nil {
			return err
		}
		good, leads := 0, false
		for _, m := range members.Members {
			leads = leads || m.State == "leader"
			if m.Suffrage == "voter" && m.Alive && m.HTTPAddress != "" {
				good++
			}
		}
		if good != 3 || !leads {
			return fmt.Errorf("%d of 3 are there, a leader is seen: %t", good, leads)
		}
		return t.ready(ctx)
	})
	if err != nil {
		return err
	}
	t.showMembers(members)
	t.printer.passed("a leader after %s, three voters", seconds(time.Since(began)))
	return nil
}

// ready returns nil once every coordinator answers that it is ready.
func (t *tour) ready(ctx context.Context) error {
	for _, m := range []string{"n1", "n2", "n3"} {
		c, err := t.client(m)
		if err != nil {
			return err
		}
		st, _, err := c.Status(ctx)
		c.Close()
		if err == nil && !st.Ready {
			err = fmt.Errorf("%s is not ready: %s", m, st.ReadyReason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) showMembers(members wire.Members) {
	var rows []table.Row
	for _, m := range members.Members {
		rows = append(rows, table.Row{m.ID, m.State, m.Suffrage, m.Address, "http://" + m.HTTPAddress})
	}
	t.printer.table(table.Row{"coordinator", "state", "suffrage", "peers dial", "people ask"}, rows)
}

func (t *tour) signIn(ctx context.Context) error {
	t.parties = map[string]*client.Session{}
	for i, who := range []struct{ name, home string }{{"laser", "n1"}, {"camera", "n2"}, {"logbook", "n3"}} {
		// Its own coordinator first, the others for when that one dies.
		addrs := slices.Concat(t.fleet.addrs()[i:], t.fleet.addrs()[:i])
		c, err := client.New(client.Config{Addrs: addrs, Timeout: 10 * time.Second})
		if err != nil {
			return err
		}
		// A home that is gone is noticed by the inbox's end, so the lease may be
		// long enough for a machine on which elections take seconds.
		s, err := c.Dial(ctx, client.Component{Inbox: true, SignIn: wire.SignIn{
			Name: who.name, Namespace: who.home, Lease: wire.Duration(15 * time.Second), Labels: map[string]string{"role": "demo"},
		}})
		if err != nil {
			return fmt.Errorf("sign %s in at %s: %w", who.name, who.home, err)
		}
		t.parties[who.name] = s
		t.printer.passed("GET /v1/session at %s: signed in as %s, session %s", who.home, s.FullName(), short(s.Welcome().Session))
	}
	n3, err := t.client("n3")
	if err != nil {
		return err
	}
	defer n3.Close()
	_, _, err = n3.SignIn(ctx, wire.SignIn{Name: "laser", Namespace: "n1"}, "")
	if wire.CodeOf(err) != wire.CodeNameTaken {
		return fmt.Errorf("a second n1.laser, asked for at n3: got %v, want name_taken", err)
	}
	t.printer.passed("a second n1.laser is refused at n3: %s", wire.CodeNameTaken)
	return nil
}

func short(id string) string { return id[:min(len(id), 8)] }

func (t *tour) message(ctx context.Context) error {
	return t.exchange(ctx, "laser", "camera")
}

// exchange sends from one to the other and the answer back.
func (t *tour) exchange(ctx context.Context, from, to string) error {
	a, b := t.parties[from], t.parties[to]
	began := time.Now()
	if err := t.deliver(ctx, a, b, `{"say":"pulse in 3 s"}`); err != nil {
		return err
	}
	if err := t.deliver(ctx, b, a, `{"say":"shutter open"}`); err != nil {
		return err
	}
	t.printer.passed("%s (at %s) -> %s (at %s) and back in %s, each delivered", a.FullName(), a.Welcome().Home, b.FullName(), b.Welcome().Home, took(time.Since(began)))
	return nil
}

func took(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (t *tour) deliver(ctx context.Context, a, b *client.Session, content string) error {
	sent := wire.Message{To: b.FullName(), Conversation: client.NewConversation(), Type: wire.TypeJSON, Payload: [][]byte{[]byte(content)}}
	if err := a.Send(ctx, sent); err != nil {
		return fmt.Errorf("send from %s to %s: %w", a.FullName(), b.FullName(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		select {
		case m := <-b.Messages():
			if m.Conversation != sent.Conversation {
				continue
			}
			if m.From != a.FullName() || string(m.Payload[0]) != content {
				return fmt.Errorf("%s got %s from %s, not what was sent", b.FullName(), m.Payload[0], m.From)
			}
			return nil
		case <-b.Done():
			return fmt.Errorf("%s is signed out: %w", b.FullName(), b.Err())
		case <-ctx.Done():
			return fmt.Errorf("%s never got what was delivered to it: %w", b.FullName(), ctx.Err())
		}
	}
}

func (t *tour) firstJob(ctx context.Context) error {
	src, err := goSource()
	if err != nil {
		return err
	}
	packages, err := packagesOf(src)
	if err != nil {
		return err
	}
	if n := t.options.packages; n > 0 && n < len(packages) {
		packages = packages[:n]
	}
	t.src = src
	began := time.Now()
	if t.want, err = countAll(src, packages); err != nil {
		return err
	}
	alone := time.Since(began)
	if t.items, err = censusItems(t.options.runtime, src, packages, 3); err != nil {
		return err
	}
	for i := range 3 {
		if err := t.fleet.worker(fmt.Sprintf("worker%d", i+1), fmt.Sprintf("n%d", i+1), 2); err != nil {
			return err
		}
	}
	err = poll(ctx, "three workers", 20*time.Second, func(ctx context.Context) error {
		w, _, err := t.api.Workers(ctx, client.Read{})
		if err == nil && len(w.Workers) < 3 {
			err = fmt.Errorf("%d of 3 are signed in", len(w.Workers))
		}
		if dead := t.fleet.dead(); dead != nil {
			return dead
		}
		return err
	})
	if err != nil {
		return err
	}
	t.printer.printf("%d packages of %s in %d parts", len(packages), src, len(t.items))
	t.printer.printf("a %s script each, 3 workers of 2 slots", t.options.runtime)
	got, by, err := t.census(ctx, nil)
	if err != nil {
		return err
	}
	if d := t.want.diff(got); d != "" {
		return errors.New("the job and the count in one process do not agree: " + d)
	}
	sum := got.total()
	var rows []table.Row
	for _, name := range got.largest(10) {
		rows = append(rows, table.Row{name, got[name].Files, got[name].Lines, got[name].Exported})
	}
	t.printer.table(table.Row{"package", "files", "lines", "exported"}, rows, "files", "lines", "exported")
	t.printer.passed("%d files, %d lines, %d exported names", sum.Files, sum.Lines, sum.Exported)
	t.printer.passed("the same count in one process (%s) agrees", seconds(alone))
	if len(by) != 3 {
		return fmt.Errorf("only %d of 3 workers took part: %v", len(by), by)
	}
	t.printer.passed("parts by worker: %s", spread(by))
	return nil
}

func spread(by map[string]int) string {
	var out []string
	for w, n := range by {
		out = append(out, fmt.Sprintf("%s %d", w, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// census runs the job once, calling during with the parts done so far, and
// returns the reduced table and how many parts each worker did.
func (t *tour) census(ctx context.Context, during func(done int) error) (census, map[string]int, error) {
	script := censusPython
	if t.options.runtime == "sh" {
		script = censusShell
	}
	began := time.Now()
	job, _, err := t.api.Submit(ctx, wire.SubmitJob{Name: "census", Runtime: t.options.runtime, Script: script, Items: t.items, PartTimeout: wire.Duration(time.Minute)})
	if err != nil {
		return nil, nil, err
	}
	got, by := census{}, map[string]int{}
	done := 0
	for r, err := range t.api.Results(ctx, job.ID, true) {
		if err != nil {
			return nil, nil, fmt.Errorf("results of job %s: %w", job.ID, err)
		}
		if r.State != "done" {
			return nil, nil, fmt.Errorf("part %d of job %s is %s: %s", r.Part, job.ID, r.State, r.Error)
		}
		var rows census
		if err := json.Unmarshal(r.Result, &rows); err != nil {
			return nil, nil, fmt.Errorf("result of part %d: %w", r.Part, err)
		}
		for name, row := range rows {
			if _, twice := got[name]; twice {
				return nil, nil, fmt.Errorf("%s was counted twice", name)
			}
			got[name] = row
		}
		done++
		by[r.Worker]++
		t.printer.progress(done, len(t.items), fmt.Sprintf("  %s", seconds(time.Since(began))))
		if during != nil {
			if err := during(done); err != nil {
				return nil, nil, err
			}
		}
	}
	job, _, err = t.api.Job(ctx, job.ID, client.Read{})
	if err != nil {
		return nil, nil, err
	}
	if job.State != "done" || done != len(t.items) {
		return nil, nil, fmt.Errorf("job %s is %s (%s) with %d of %d results", job.ID, job.State, job.Reason, done, len(t.items))
	}
	t.printer.passed("job %s done: %d parts, %d of them tried again, %s", short(job.ID), job.Parts.Total, job.Parts.Retries, seconds(time.Since(began)))
	return got, by, nil
}

func (t *tour) secondJob(ctx context.Context) error {
	leader, _, err := t.api.Leader(ctx)
	if err != nil {
		return err
	}
	elected := make(chan error, 1)
	got, by, err := t.census(ctx, func(done int) error {
		if t.killed != "" || done < len(t.items)/5 {
			return nil
		}
		t.killed = leader.ID
		p := t.fleet.proc(leader.ID)
		p.kill()
		p.done = nil // its end is no surprise
		t.printer.interrupted()
		t.printer.printf("killed %s, the leader, with %d of %d parts done", leader.ID, done, len(t.items))
		go func() { elected <- t.nextLeader(ctx, leader.ID) }()
		return nil
	})
	if t.killed != "" {
		select {
		case e := <-elected:
			err = errors.Join(err, e)
		case <-ctx.Done():
			err = errors.Join(err, ctx.Err())
		}
	}
	if err != nil {
		return err
	}
	if d := t.want.diff(got); d != "" {
		return errors.New("the second table is not the first: " + d)
	}
	t.printer.passed("the same table once more")
	t.printer.passed("parts by worker: %s", spread(by))
	return nil
}

// nextLeader waits for a leader that is not old, and for a write it takes.
func (t *tour) nextLeader(ctx context.Context, old string) error {
	began := time.Now()
	var now wire.Leader
	err := poll(ctx, "a new leader", 20*time.Second, func(ctx context.Context) error {
		var err error
		now, _, err = t.api.Leader(ctx)
		if err == nil && (now.ID == old || now.ID == "") {
			err = errors.New("the dead one is still named")
		}
		return err
	})
	if err == nil {
		t.printer.interrupted()
		t.printer.passed("%s leads in term %d, %s after the kill", now.ID, now.Term, seconds(time.Since(began)))
	}
	return err
}

func (t *tour) checkSignIns(ctx context.Context) error {
	// Whoever lived at the dead coordinator has moved, under its own name.
	var list wire.Components
	err := poll(ctx, "all sign-ins at living coordinators", 20*time.Second, func(ctx context.Context) error {
		var err error
		if list, _, err = t.api.Components(ctx, client.Components{Read: client.Read{Consistency: "strict"}}); err != nil {
			return err
		}
		for _, name := range []string{"n1.laser", "n2.camera", "n3.logbook", "n1.worker1", "n2.worker2", "n3.worker3"} {
			i := slices.IndexFunc(list.Components, func(c wire.Component) bool { return c.FullName == name })
			if i < 0 {
				return fmt.Errorf("%s is gone", name)
			}
			if list.Components[i].Home == t.killed {
				return fmt.Errorf("%s is still at %s", name, t.killed)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var rows []table.Row
	for _, c := range list.Components {
		note := ""
		if c.Namespace == t.killed {
			note = "moved from " + t.killed + ", same name, same session"
		}
		rows = append(rows, table.Row{c.FullName, c.Home, short(c.Session), note})
	}
	t.printer.table(table.Row{"component", "home", "session", ""}, rows)
	t.printer.passed("all sign-ins are there")
	return t.exchange(ctx, "laser", "camera")
}

func (t *tour) restartLeader(ctx context.Context) error {
	p := t.fleet.proc(t.killed)
	if err := t.fleet.run(p); err != nil {
		return err
	}
	back, err := t.client(t.killed)
	if err != nil {
		return err
	}
	defer back.Close()
	var digests []wire.Digest
	err = poll(ctx, "the same fingerprint at all three", 30*time.Second, func(ctx context.Context) error {
		if err := t.fleet.dead(); err != nil {
			return err
		}
		digests = nil
		for _, name := range []string{"n1", "n2", "n3"} {
			c, err := t.client(name)
			if err != nil {
				return err
			}
			d, _, err := c.Digest(ctx, 0)
			c.Close()
			if err != nil {
				return fmt.Errorf("ask %s: %w", name, err)
			}
			digests = append(digests, d)
		}
		if digests[0] != digests[1] || digests[1] != digests[2] {
			return fmt.Errorf("%v", digests)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.printer.passed("all three have the same state at index %d: %s", digests[0].Index, short(digests[0].Digest))
	members, _, err := back.Members(ctx, client.Read{})
	if err != nil {
		return err
	}
	t.showMembers(members)
	return nil
}
