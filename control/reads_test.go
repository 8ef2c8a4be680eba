package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/wire"
)

// A read waits for a change behind its index, or answers with what is there when
// its wait is over.
func TestReadWaits(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		at := n1.machine.View().Index
		begin := time.Now()
		_, fresh, err := n1.View(t.Context(), control.Read{Index: at, Wait: 30 * time.Second})
		noError(t, err)
		if waited := time.Since(begin); waited != 30*time.Second || fresh.Index != at {
			t.Errorf("a wait without a change took %v and gave index %d, want 30s and %d", waited, fresh.Index, at)
		}
		go func() {
			time.Sleep(7 * time.Second)
			n1.signIn(t, "laser")
		}()
		begin = time.Now()
		list, fresh, err := n1.Components(t.Context(), anyone, control.Read{Index: at, Wait: 30 * time.Second}, directory.ComponentFilter{}, control.Page{})
		noError(t, err)
		if waited := time.Since(begin); waited != 7*time.Second || fresh.Index != at+1 || len(list.Components) != 1 {
			t.Errorf("after %v index %d and %d components, want 7s, %d and the change", waited, fresh.Index, len(list.Components), at+1)
		}
		_, _, err = n1.View(t.Context(), control.Read{Consistency: "fresh"})
		refused(t, err, wire.CodeInvalid, "stale, default or strict")
		begin = time.Now()
		_, _, err = n1.View(t.Context(), control.Read{Consistency: "stale", Index: 1000})
		refused(t, err, wire.CodeUnavailable, "")
		if waited := time.Since(begin); waited != 5*time.Second {
			t.Errorf("a read of the future was refused after %v, want 5s", waited)
		}
		w.failProposals(wire.NotTried("no leader"))
		_, _, err = n1.Components(t.Context(), anyone, control.Read{}, directory.ComponentFilter{}, control.Page{})
		refused(t, err, wire.CodeUnavailable, "no leader")
		_, _, err = n1.Components(t.Context(), anyone, control.Read{Consistency: "stale"}, directory.ComponentFilter{}, control.Page{})
		noError(t, err)
	}, "n1")
}

// Components are chosen by namespace, prefix, pattern and labels, in pages.
func TestComponentFilters(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		for i, full := range []string{"n1.a", "n1.b", "n1.b2", "n1.c", "n2.a", "n2.b"} {
			namespace, name, _ := strings.Cut(full, ".")
			_, err := n1.SignIn(t.Context(), anyone, wire.SignIn{
				Name: name, Namespace: namespace, Labels: map[string]string{"even": fmt.Sprint(i%2 == 0)},
			}, "")
			noError(t, err)
		}
		cases := []struct {
			f    directory.ComponentFilter
			want string
		}{
			{directory.ComponentFilter{}, "n1.a n1.b n1.b2 n1.c n2.a n2.b"},
			{directory.ComponentFilter{Namespace: "n1"}, "n1.a n1.b n1.b2 n1.c"},
			{directory.ComponentFilter{Namespace: "n"}, ""},
			{directory.ComponentFilter{Prefix: "n1.b"}, "n1.b n1.b2"},
			{directory.ComponentFilter{Namespace: "n2", Prefix: "n1.b"}, ""},
			{directory.ComponentFilter{Match: `n\d\.b`}, "n1.b n2.b"},
			{directory.ComponentFilter{Match: `n1|n1\.b`}, "n1.b"},
			{directory.ComponentFilter{Labels: map[string]string{"even": "true"}}, "n1.a n1.b2 n2.a"},
			{directory.ComponentFilter{Labels: map[string]string{"odd": ""}}, ""},
			{directory.ComponentFilter{Home: "n2"}, ""},
		}
		for _, c := range cases {
			for _, limit := range []int{0, 1, 2} {
				got, after := []string{}, ""
				for {
					list, _, err := n1.Components(t.Context(), anyone, control.Read{}, c.f, control.Page{Limit: limit, After: after})
					noError(t, err)
					for _, row := range list.Components {
						got = append(got, row.FullName)
					}
					if after = list.Next; after == "" {
						break
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("%+v in pages of %d: %v, want %s", c.f, limit, got, c.want)
				}
			}
		}
		for _, bad := range []string{"(", "a)|(b", strings.Repeat("a", 1025)} {
			_, _, err := n1.Components(t.Context(), anyone, control.Read{}, directory.ComponentFilter{Match: bad}, control.Page{})
			refused(t, err, wire.CodeInvalid, "")
		}
		_, _, err := n1.Components(t.Context(), anyone, control.Read{}, directory.ComponentFilter{}, control.Page{Limit: -1})
		refused(t, err, wire.CodeInvalid, "limit")
		book, _, err := n1.Namespaces(t.Context(), anyone, control.Read{})
		noError(t, err)
		if len(book) != 2 || book["n2"].Coordinator != "n2" || !slices.Equal(book["n2"].Components, []string{"a", "b"}) {
			t.Errorf("the address book is %+v", book)
		}
		_, _, err = n1.Component(t.Context(), anyone, control.Read{}, "n1.nobody")
		refused(t, err, wire.CodeNotFound, "n1.nobody")
	}, "n1", "n2")
}

// Events come in order, of the topics asked for, without secrets, and can be
// resumed behind any of them.
func TestEvents(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		cur, err := n1.Events(anyone, []string{wire.TopicComponent}, nil)
		noError(t, err)
		in := n1.signIn(t, "laser")
		n1.submit(t, "count", 1)
		_, err = n1.SignOut(t.Context(), by(in.Secret), in.FullName)
		noError(t, err)
		events, lagged, err := cur.Next(t.Context())
		noError(t, err)
		if lagged || len(events) != 2 || events[0].Kind != "signed_in" || events[1].Kind != "signed_out" {
			t.Fatalf("events %+v, want the sign-in and the sign-out", events)
		}
		if b, _ := json.Marshal(events); strings.Contains(string(b), "secret") {
			t.Errorf("the events show secrets: %s", b)
		}
		resumed, err := control.ParsePosition("index", control.Position{Index: events[0].Index, Seq: events[0].Seq}.String())
		noError(t, err)
		again, err := n1.Events(anyone, nil, &resumed)
		noError(t, err)
		events, _, err = again.Next(t.Context())
		noError(t, err)
		if len(events) != 2 || events[0].Kind != "submitted" {
			t.Errorf("resumed behind the sign-in: %+v, want submitted and signed_out", events)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := again.Next(ctx); err != context.DeadlineExceeded {
			t.Errorf("without events: %v, want the context's error", err)
		}
		_, err = n1.Events(anyone, []string{"weather"}, nil)
		refused(t, err, wire.CodeInvalid, "weather")
		for _, bad := range []string{"", "x", "1.x", "1.-1", "-1", "1.2.3"} {
			_, err = control.ParsePosition("index", bad)
			refused(t, err, wire.CodeInvalid, "place in the feed")
		}
	}, "n1")
}

// A cursor that fell behind the feed lags, and goes on from now; so does
// the coordinator itself.
func TestEventsLagged(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		in := n1.signIn(t, "laser")
		cur, err := n1.Events(anyone, nil, &control.Position{Index: 1})
		noError(t, err)
		for i := range fsm.FeedSize {
			w.apply(jobs.KindSubmit, jobs.Submit{ID: "again", Spec: spec(t, i)})
			w.apply(jobs.KindCancel, jobs.Cancel{ID: "again"})
			w.apply(jobs.KindForget, jobs.Forget{ID: "again"})
			if i*3 > fsm.FeedSize {
				break
			}
		}
		_, lagged, err := cur.Next(t.Context())
		noError(t, err)
		if !lagged {
			t.Fatal("a cursor behind the feed does not lag")
		}
		if at := cur.At().Index; at != n1.machine.View().Index {
			t.Errorf("the cursor goes on from %d, want the index of now, %d", at, n1.machine.View().Index)
		}
		other := n1.signIn(t, "stage")
		events, lagged, err := cur.Next(t.Context())
		noError(t, err)
		if lagged || len(events) != 1 || events[0].Key != other.FullName {
			t.Errorf("after the lag: %+v, want the next sign-in", events)
		}
		synctest.Wait()
		if !n1.mail.attached(in.Session) || !n1.mail.attached(other.Session) {
			t.Error("a mailbox is missing after the lag")
		}
	}, "n1")
}

func spec(t *testing.T, i int) jobs.Spec {
	s, err := jobs.Check(wire.SubmitJob{Runtime: "sh", Script: fmt.Sprint(i), Items: []json.RawMessage{json.RawMessage("1")}})
	noError(t, err)
	return s
}

// Members, leader, status and digest come as the contract has them.
func TestClusterReads(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		members, _, err := n1.Members(t.Context(), anyone, control.Read{})
		noError(t, err)
		if len(members.Members) != 2 || members.Members[1].HTTPAddress != "n2:7380" || members.Members[1].Namespace != "n2" {
			t.Errorf("the members are %+v", members)
		}
		leader, err := n2.Leader(t.Context(), anyone)
		noError(t, err)
		if leader != (wire.Leader{ID: "n1", ServerID: "n1/1", Address: "n1:7300", HTTPAddress: "n1:7380", Term: 3}) {
			t.Errorf("the leader is %+v", leader)
		}
		_, _, err = n1.AddMember(t.Context(), anyone, wire.AddMember{Address: "n9"}, anyConfig)
		refused(t, err, wire.CodeInvalid, "host:port")
		_, err = n1.RemoveMember(t.Context(), anyone, "", anyConfig)
		refused(t, err, wire.CodeInvalid, "missing")
		_, err = n1.RemoveMember(t.Context(), anyone, "n7", anyConfig)
		refused(t, err, wire.CodeNotFound, "n7")
		done, err := n1.RemoveMember(t.Context(), anyone, "n2", control.MemberChange{ConfigIndex: members.ConfigIndex})
		noError(t, err)
		if done != (wire.MemberChangeResult{ID: "n2", ConfigIndex: 8}) {
			t.Errorf("removed from the configuration %d: %+v", members.ConfigIndex, done)
		}
		_, err = n1.Transfer(t.Context(), anyone, wire.Transfer{})
		refused(t, err, wire.CodeUnknown, "")
		a, _, err := n1.Digest(t.Context(), anyone, control.Read{})
		noError(t, err)
		b, _, err := n2.Digest(t.Context(), anyone, control.Read{Index: a.Index})
		noError(t, err)
		if a != b || a.Digest == "" {
			t.Errorf("digests %+v and %+v, want the same", a, b)
		}
		n1.signIn(t, "laser")
		s, err := n1.Status(t.Context(), anyone)
		noError(t, err)
		if s.ID != "n1" || s.LocalSessions != 1 || s.Components != 1 || s.Leader != "n1" || !s.Ready || s.Links == nil || s.Jobs["queued"] != 0 {
			t.Errorf("the status is %+v", s)
		}
	}, "n1", "n2")
}

// A transfer answers who leads after it, in which term: what is known here before that is no answer.
func TestTransferAnswersTheNewLeader(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		// n1 gives leadership up at once; this coordinator learns of what follows second by second.
		sequence := func(each ...wire.Leader) func() (string, uint64) {
			began := time.Now()
			return func() (string, uint64) {
				l := each[min(int(time.Since(began)/time.Second), len(each)-1)]
				return l.ID, l.Term
			}
		}
		for name, c := range map[string]struct {
			to    string
			leads []wire.Leader
			want  wire.Leader
			code  wire.Code
		}{
			"nobody, then the next":      {"", []wire.Leader{{Term: 3}, {Term: 4}, {ID: "n2", Term: 4}}, wire.Leader{ID: "n2", Term: 4}, ""},
			"the old one, then the next": {"", []wire.Leader{{ID: "n1", Term: 3}, {ID: "n2", Term: 4}}, wire.Leader{ID: "n2", Term: 4}, ""},
			"behind by a term":           {"", []wire.Leader{{ID: "n2", Term: 2}, {ID: "n1", Term: 3}, {ID: "n2", Term: 5}}, wire.Leader{ID: "n2", Term: 5}, ""},
			"to one who led before":      {"n2", []wire.Leader{{ID: "n2", Term: 2}, {Term: 4}, {ID: "n2", Term: 4}}, wire.Leader{ID: "n2", Term: 4}, ""},
			"to one who leads":           {"n1", []wire.Leader{{ID: "n1", Term: 3}}, wire.Leader{ID: "n1", Term: 3}, ""},
			"to one by its server id":    {"n2/1", []wire.Leader{{Term: 3}, {ID: "n2", Term: 4}}, wire.Leader{ID: "n2", Term: 4}, ""},
			"another one than named":     {"n2", []wire.Leader{{Term: 3}, {ID: "n1", Term: 5}}, wire.Leader{}, wire.CodeConflict},
			"nobody for ever":            {"", []wire.Leader{{Term: 3}, {Term: 9}}, wire.Leader{}, wire.CodeUnknown},
			"the old one is still known": {"n2", []wire.Leader{{ID: "n1", Term: 3}}, wire.Leader{}, wire.CodeUnknown},
		} {
			w.mu.Lock()
			w.leader = sequence(c.leads...)
			w.mu.Unlock()
			got, err := w.nodes["n1"].Transfer(t.Context(), anyone, wire.Transfer{To: c.to})
			if c.code != "" {
				refused(t, err, c.code, "")
			} else if noError(t, err); got.ID != c.want.ID || got.Term != c.want.Term || got.Address != c.want.ID+":7300" {
				t.Errorf("%s: the answer is %+v, want %+v", name, got, c.want)
			}
		}
	}, "n1", "n2")
}
