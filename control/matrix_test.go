package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// want says what a use case needs, as OPERATIONS has it.
type want struct {
	right control.Right
	// of is the namespace that it is needed in; "" is none (of the cluster, or any
	// valid token); "*" is one of all: a list, or what is decided for each part.
	of string
	// row: only the row, a job of namespace default, has the namespace.
	row bool
	// call calls it with n1's components and job j1 in sight.
	call func(t *testing.T, n *testNode, who control.Principal) error
}

const anywhere = "*"

func ignore[A any](_ A, err error) error          { return err }
func ignore2[A, B any](_ A, _ B, err error) error { return err }

// lab is the session that use cases with a session get.
var lab = registry.Session{ID: "s1", FullName: "n1.worker", Namespace: "n1", Name: "worker", Home: "n1"}

// matrix has every use case that takes a principal. Arguments are such that who may is refused for something else, or
// changes nothing.
var matrix = map[string]want{
	"Components": {"components:read", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Components(t.Context(), who, control.Read{}, directory.ComponentFilter{Namespace: "n1"}, control.Page{}))
	}},
	"Component": {"components:read", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Component(t.Context(), who, control.Read{}, "n1.laser"))
	}},
	"Lookup": {"components:read", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Lookup(t.Context(), who, "n1.laser"))
	}},
	"Names": {"components:read", anywhere, false, func(_ *testing.T, n *testNode, who control.Principal) error { return ignore(n.Names(who)) }},
	"Namespaces": {"components:read", anywhere, false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Namespaces(t.Context(), who, control.Read{}))
	}},
	"Workers": {"components:read", anywhere, false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Workers(t.Context(), who, control.Read{}))
	}},
	"SignIn": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.SignIn(t.Context(), who, wire.SignIn{Namespace: "n1"}, ""))
	}},
	"Enter": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		_, _, _, err := n.Enter(t.Context(), who, wire.SignIn{Namespace: "n1"}, "")
		return err
	}},
	"SignOut": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore(n.SignOut(t.Context(), who, "n1.laser")))
	}},
	"Heartbeat": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore(n.Heartbeat(t.Context(), who, "n1.laser")))
	}},
	"Inbox": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore(n.Inbox(t.Context(), who, "n1.laser")))
	}},
	"AuthorizeOwner": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore(n.AuthorizeOwner(t.Context(), who, control.ComponentsWrite, "n1.laser")))
	}},
	"AuthorizeSession": {"any", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore(n.AuthorizeSession(t.Context(), who, control.AnyRight)))
	}},
	"SignOutAs": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.SignOutAs(t.Context(), who, lab))
	}},
	"RemoveComponent": {"admin", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.RemoveComponent(t.Context(), who, "n1.nobody", ""))
	}},
	"Send": {"any", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore(n.Send(t.Context(), who, wire.SendMessage{To: "n1.laser"}, "")))
	}},
	"Request": {"messages:send", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Request(t.Context(), who, "n1.laser", "", nil))
	}},
	"Call": {"any", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return noSecret(ignore2(n.Call(t.Context(), who, "jobs.get", nil)))
	}},
	"Events": {"components:read", anywhere, false, func(_ *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Events(who, []string{wire.TopicComponent}, nil))
	}},
	"Doors": {"any", "", false, func(_ *testing.T, n *testNode, who control.Principal) error { return ignore(n.Doors(who)) }},
	"Nodes": {"any", "", false, func(_ *testing.T, n *testNode, who control.Principal) error { return ignore(n.Nodes(who)) }},

	"Submit": {"jobs:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Submit(t.Context(), who, wire.SubmitJob{Namespace: "n1"}, ""))
	}},
	"CancelJob": {"jobs:write", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.CancelJob(t.Context(), who, "j1", ""))
	}},
	"ForgetJob": {"jobs:write", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.ForgetJob(t.Context(), who, "j2"))
	}},
	"Jobs": {"jobs:read", anywhere, false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Jobs(t.Context(), who, control.Read{}, work.JobFilter{}, control.Page{}))
	}},
	"Job": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Job(t.Context(), who, control.Read{}, "j1"))
	}},
	"AwaitJob": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.AwaitJob(t.Context(), who, "j1", 0))
	}},
	"Parts": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Parts(t.Context(), who, control.Read{}, "j1", "", control.Page{}))
	}},
	"Results": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Results(t.Context(), who, control.Read{}, "j1", work.ResultQuery{}))
	}},
	"EndedResults": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.EndedResults(t.Context(), who, "j1", -1, 0))
	}},
	"PartLog": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.PartLog(t.Context(), who, "j1", work.LogQuery{}))
	}},
	"JobLogs": {"jobs:read", "default", true, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.JobLogs(t.Context(), who, "j1", -1, false))
	}},
	"StartParts": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.StartParts(t.Context(), who, lab, wire.PartRefs{}))
	}},
	"FinishParts": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.FinishParts(t.Context(), who, lab, wire.FinishParts{}))
	}},
	"SyncParts": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.SyncParts(t.Context(), who, lab, wire.SyncParts{}))
	}},
	"AppendLog": {"components:write", "n1", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Work.AppendLog(t.Context(), who, lab, wire.AppendLog{PartRef: wire.PartRef{Job: "nobody"}}))
	}},

	"Leader": {"any", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Leader(t.Context(), who))
	}},
	"Status": {"cluster:read", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Status(t.Context(), who))
	}},
	"Members": {"cluster:read", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Members(t.Context(), who, control.Read{}))
	}},
	"Audit": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		_, err := n.Audit(t.Context(), who, 0, 1)
		return err
	}},
	"Debug": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return n.Debug(t.Context(), who, 0, func() (io.Writer, error) { return nil, errors.New("nobody reads") })
	}},
	"AuditAnchors": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.AuditAnchors(t.Context(), who, control.Read{}, ""))
	}},
	"Digest": {"cluster:read", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Digest(t.Context(), who, control.Read{}))
	}},
	"Level": {"cluster:read", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Level(t.Context(), who, control.Read{}))
	}},
	"RaiseLevel": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.RaiseLevel(t.Context(), who, wire.RaiseLevel{Level: new(int)}))
	}},
	"AddMember": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		_, _, err := n.AddMember(t.Context(), who, wire.AddMember{}, anyConfig)
		return err
	}},
	"RemoveMember": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.RemoveMember(t.Context(), who, "", anyConfig))
	}},
	"Autopilot": {"cluster:read", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		_, _, err := n.Autopilot(t.Context(), who, control.Read{})
		return err
	}},
	"SetAutopilot": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		_, _, err := n.SetAutopilot(t.Context(), who, wire.AutopilotSettings{})
		return err
	}},
	"Snapshot": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.Snapshot(t.Context(), who))
	}},
	"Restore": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Restore(t.Context(), who, snapshots.Target{}, func(context.Context) (io.Reader, error) { return strings.NewReader(""), nil }))
	}},
	"Promote": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Promote(t.Context(), who, "", anyConfig))
	}},
	"Demote": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Demote(t.Context(), who, "", anyConfig))
	}},
	"CreateToken": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.CreateToken(t.Context(), who, wire.NewToken{}, ""))
	}},
	"TokenList": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.TokenList(t.Context(), who, control.Read{}, control.Page{}))
	}},
	"TokenByID": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore2(n.TokenByID(t.Context(), who, control.Read{}, "t_nobody"))
	}},
	"RevokeToken": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.RevokeToken(t.Context(), who, "t_nobody"))
	}},
	"CreateJoinToken": {"admin", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.CreateJoinToken(t.Context(), who, wire.NewJoinToken{}, ""))
	}},
	"SignCertificate": {control.JoinRight, "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.SignCertificate(t.Context(), who, wire.SignCertificate{}))
	}},
	"OwnToken": {"any", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.OwnToken(t.Context(), who))
	}},
	"Transfer": {"cluster:write", "", false, func(t *testing.T, n *testNode, who control.Principal) error {
		return ignore(n.Transfer(t.Context(), who, wire.Transfer{}))
	}},
}

// noSecret turns the refusal of a missing session's secret, which comes behind the token's, into another code.
func noSecret(err error) error {
	if wire.CodeOf(err) == wire.CodeUnauthorized && strings.Contains(err.Error(), "X-Session") {
		return wire.Invalid("", "%v", err)
	}
	return err
}

// Every use case, for every kind of token: allowed exactly where the rights say so.
func TestMatrix(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		n1.signIn(t, "laser")
		for _, id := range []string{"j1", "j2"} {
			n1.submit(t, id, 1)
		}
		file := control.HashToken("of-the-file")
		w.askFor("n1", "of-the-file")
		methods := reflect.TypeOf(n1.UseCases)
		for i := range methods.NumMethod() {
			name := methods.Method(i).Name
			_, asks := useCaseArgs(t, methods.Method(i).Type)
			if _, listed := matrix[name]; asks != listed && !notUseCases[name] {
				t.Errorf("%s takes a principal: %v; in the matrix: %v", name, asks, listed)
			}
		}
		w.newestLevel()
		list := []access.Create{
			{ID: "t_old", Hash: control.HashToken("secret of t_old"), Grants: access.Grants{{Right: access.Admin}}, Expires: time.Now().Add(time.Hour)},
			{ID: "t_gone", Hash: control.HashToken("secret of t_gone"), Grants: access.Grants{{Right: access.Admin}}},
		}
		for _, right := range access.Rights() {
			for _, at := range []string{"", "n1", "default", "elsewhere", "*"} {
				g := access.Grant{Right: right, Namespace: at}
				if _, err := access.ParseGrant(g.String()); err == nil {
					id := "t_" + g.String()
					list = append(list, access.Create{ID: id, Hash: control.HashToken("secret of " + id), Grants: access.Grants{g}})
				}
			}
		}
		for _, c := range list {
			noError(t, resultError(w.apply(access.KindCreate, c)))
		}
		whos := map[string]control.Principal{"nobody": {}, "file": n1.bearer(t, "of-the-file")}
		for _, k := range list {
			whos[k.ID] = n1.bearer(t, "secret of "+k.ID)
		}
		noError(t, resultError(w.apply(access.KindRevoke, access.Revoke{ID: "t_gone"})))
		time.Sleep(2 * time.Hour)
		for secret, says := range map[string]string{"": "not known", "wrong": "not known", "secret of t_gone": "t_gone was revoked", "secret of t_old": "t_old expired at ", file: "not known"} {
			_, err := n1.Authenticate(control.Credentials{Token: secret})
			refused(t, err, wire.CodeUnauthorized, says)
		}
		questions := 0
		for name, use := range matrix {
			for id, who := range whos {
				questions++
				err := use.call(t, n1, who)
				var grants access.Grants
				for _, k := range list[2:] {
					if k.ID == id {
						grants = k.Grants
					}
				}
				if got, wanted := use.answer(err), use.expected(id, grants); got != wanted {
					t.Errorf("%s by %s: %s (%v), want %s", name, id, got, err, wanted)
				}
				checkNeeds(t, name, who, err)
			}
		}
		t.Logf("%d questions", questions)
	}, "n1")
}

// answer is what an error says of the right.
func (u want) answer(err error) string {
	switch code := wire.CodeOf(err); {
	case code == wire.CodeUnauthorized || code == wire.CodeForbidden:
		return string(code)
	case u.row && code == wire.CodeNotFound:
		return string(code)
	}
	return "allowed"
}

// expected is what the rights say.
func (u want) expected(id string, grants access.Grants) string {
	names, all := grants.Namespaces(u.right)
	read := access.Right(strings.Replace(string(u.right), ":write", ":read", 1))
	switch {
	case u.right == control.JoinRight && (id == "file" || grants != nil): // which no grant has
		return "forbidden"
	case id == "file":
		return "allowed"
	case grants == nil: // nobody, expired, revoked
		return "unauthorized"
	case u.right == control.AnyRight, u.of == anywhere && (all || len(names) > 0), u.of != anywhere && grants.Allow(u.right, u.of):
		return "allowed"
	case u.row && (all || len(names) > 0) && !grants.Allow(read, u.of):
		return "not_found"
	}
	return "forbidden"
}

// checkNeeds checks that a refusal says what would be needed, and who lacks it.
func checkNeeds(t *testing.T, name string, who control.Principal, err error) {
	t.Helper()
	var refusal *wire.Error
	if wire.CodeOf(err) != wire.CodeForbidden {
		return
	}
	refusal = err.(*wire.Error)
	if _, invalid := access.ParseGrant(refusal.Needs); invalid != nil && refusal.Needs != string(control.JoinRight) || refusal.Token != who.Token() || !strings.Contains(err.Error(), refusal.Needs) {
		t.Errorf("%s: refused with %+v, want what it needs, as a grant, and token %s", name, refusal, who.Token())
	}
}

// What a token of one namespace sees of two: its own, in lists, events and counts, and the same words for what is
// elsewhere as for what is nowhere.
func TestWhatOneNamespaceSees(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		n1.signIn(t, "laser")
		n2.signIn(t, "camera")
		n2.worker(t, "worker")
		n1.submit(t, "j1", 1)
		w.askFor("n1", "of-the-file") // so that sessions without a token stay
		w.newestLevel()
		w.create("one", "read@n1", "cluster:read")
		w.create("two", "jobs:read@default")
		one, two := n1.bearer(t, "one"), n1.bearer(t, "two")
		cursor, err := n1.Events(one, nil, &control.Position{})
		noError(t, err)
		if !cursor.Filtered() {
			t.Error("the events are not said to be filtered")
		}
		events, _, err := cursor.Next(t.Context())
		noError(t, err)
		for _, e := range events {
			if e.Topic != wire.TopicMember && !strings.HasPrefix(e.Key, "n1.") {
				t.Errorf("it sees event %s %s of %s", e.Topic, e.Kind, e.Key)
			}
		}
		list, fresh, err := n1.Components(t.Context(), one, control.Read{}, directory.ComponentFilter{}, control.Page{})
		noError(t, err)
		if len(list.Components) != 1 || list.Components[0].FullName != "n1.laser" || !fresh.Filtered {
			t.Errorf("it sees %+v, filtered %v", list, fresh.Filtered)
		}
		book, _, err := n1.Namespaces(t.Context(), one, control.Read{})
		noError(t, err)
		if len(book) != 1 || len(book["n1"].Components) != 1 {
			t.Errorf("it sees the namespaces %+v", book)
		}
		busy, _, err := n1.Workers(t.Context(), one, control.Read{})
		noError(t, err)
		found, _, err := n1.Jobs(t.Context(), one, control.Read{}, work.JobFilter{}, control.Page{})
		noError(t, err)
		status, err := n1.Status(t.Context(), one)
		noError(t, err)
		if len(busy.Workers)+len(found.Jobs)+status.Workers+status.Jobs["queued"]+status.JobSize.Jobs != 0 || status.Components != 1 {
			t.Errorf("it sees workers %+v, jobs %+v, %+v", busy, found, status)
		}
		_, _, elsewhere := n1.Job(t.Context(), one, control.Read{}, "j1")
		_, _, nowhere := n1.Job(t.Context(), one, control.Read{}, "j9")
		if fmt.Sprint(elsewhere) != strings.Replace(fmt.Sprint(nowhere), "j9", "j1", 1) || wire.CodeOf(elsewhere) != wire.CodeNotFound {
			t.Errorf("a job elsewhere: %v; one nowhere: %v", elsewhere, nowhere)
		}
		_, err = n1.Events(one, []string{wire.TopicService, wire.TopicMember}, nil)
		noError(t, err)
		_, err = n1.Events(two, []string{wire.TopicComponent}, nil)
		refused(t, err, wire.CodeForbidden, "components:read@*")
		// It may read the job, and not cancel it: that is no secret.
		_, _, err = n1.CancelJob(t.Context(), two, "j1", "")
		refused(t, err, wire.CodeForbidden, "jobs:write@*")
	}, "n1", "n2")
}

// Sessions that signed in while no token was asked for end once one is, for nobody vouches for them; those of a door that
// has no place for tokens stay.
func TestSessionsWithoutATokenEnd(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		native := n1.signIn(t, "laser")
		_, err := n1.SignIn(t.Context(), present(control.Credentials{Door: control.DoorLECO}), wire.SignIn{Name: "camera"}, "")
		noError(t, err)
		w.newestLevel()
		w.create("one", "admin")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		ended, gone := n1.State().Registry.Ended(native.Session)
		if _, stays := n1.State().Registry.Session("n1.camera"); !gone || ended.Reason != "a token is asked for by now" || !stays {
			t.Errorf("the session without a token: %+v; LECO's stays: %v", ended, stays)
		}
	}, "n1")
}

// BenchmarkAuthorize is what one message costs of it, with as many tokens as a state has; BenchmarkAuthenticate what one
// request costs.
func BenchmarkAuthorize(b *testing.B) {
	core := tenThousandTokens(b)
	who, err := core.Authenticate(control.Credentials{Token: "secret 5000"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := core.Authorize(who, control.MessagesSend, control.ComponentThing("lab1.laser")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	core := tenThousandTokens(b)
	for b.Loop() {
		if _, err := core.Authenticate(control.Credentials{Token: "secret 5000"}); err != nil {
			b.Fatal(err)
		}
	}
}

// tenThousandTokens is a coordinator whose state has as many tokens as may be.
func tenThousandTokens(b *testing.B) *control.Core {
	b.Helper()
	machine, self := fsm.New(), registry.Coordinator{ID: "n1", ServerID: "n1/1", Namespace: "n1", PeerAddr: "n1:7300", Level: fsm.Level}
	index := uint64(0)
	apply := func(kind string, body any) {
		command, err := fsm.Encode(kind, time.Unix(0, 0), fsm.Author{By: "bench"}, body)
		if err != nil {
			b.Fatal(err)
		}
		index++
		if r := machine.Apply(index, [][]byte{command})[0]; r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	apply(registry.KindAnnounce, registry.Announce{Coordinator: self})
	apply(fsm.KindRaiseLevel, fsm.RaiseLevel{Level: fsm.Level})
	for i := range access.MaxTokens {
		apply(access.KindCreate, access.Create{
			ID: fmt.Sprint("t_", i), Hash: control.HashToken(fmt.Sprint("secret ", i)), Grants: access.Grants{{Right: access.Write, Namespace: "lab1"}},
		})
	}
	core, err := control.New(control.Config{Machine: machine, Replica: replica{}, Self: self})
	if err != nil {
		b.Fatal(err)
	}
	return core
}

// anyConfig is a change whatever the configuration is by then.
var anyConfig control.MemberChange
