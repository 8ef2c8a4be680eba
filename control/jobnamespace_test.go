package control_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/wire"
)

// A job is submitted to, seen in and ended in its own namespace alone, and its events stay there when it is forgotten and
// another has its id.
func TestJobsOfNamespaces(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		submit := func(who control.Principal, id, namespace string) (wire.Job, error) {
			job, _, err := n1.Submit(t.Context(), who, wire.SubmitJob{
				ID: id, Namespace: namespace, Runtime: "sh", Script: "true", Range: &wire.Range{To: 1},
			}, "")
			return job, err
		}
		_, err := submit(anyone, "j1", "lab1")
		refused(t, err, wire.CodeConflict, "raftctl level raise")
		_, err = submit(anyone, "j0", "default")
		noError(t, err)
		w.newestLevel()
		w.create("one", "jobs:write@lab1")
		w.create("two", "jobs:write@lab2")
		w.create("other", "jobs:read@default")
		w.create("root", "admin")
		one, two, other, root := n1.bearer(t, "one"), n1.bearer(t, "two"), n1.bearer(t, "other"), n1.bearer(t, "root")
		for namespace, needs := range map[string]string{"lab1": "jobs:write@lab1", "": "jobs:write@default", "default": "jobs:write@default", "*": "jobs:write@*"} {
			_, err := submit(two, "j1", namespace)
			refused(t, err, wire.CodeForbidden, needs)
		}
		for _, none := range []string{"*", "lab1.a", " lab1", "lab\n"} {
			_, err := submit(root, "j1", none)
			refused(t, err, wire.CodeInvalid, "namespace")
		}
		first, err := submit(one, "j1", "lab1")
		noError(t, err)
		_, err = submit(two, "j2", "lab2")
		noError(t, err)
		if again, err := submit(one, "j1", "lab1"); err != nil || !again.Known || first.Namespace != "lab1" {
			t.Errorf("submitted %+v, and once more: %+v, %v", first, again, err)
		}
		_, err = submit(two, "j1", "lab2")
		refused(t, err, wire.CodeConflict, "other content")
		for who, want := range map[control.Principal][]string{one: {"j1"}, two: {"j2"}, other: {"j0"}, root: {"j0", "j1", "j2"}} {
			list, fresh, err := n1.Jobs(t.Context(), who, control.Read{}, work.JobFilter{}, control.Page{})
			noError(t, err)
			var ids []string
			for _, j := range list.Jobs {
				ids = append(ids, j.ID)
			}
			if !slices.Equal(ids, want) || fresh.Filtered == (who == root) {
				t.Errorf("%s sees the jobs %v, filtered %v; want %v", who.Token(), ids, fresh.Filtered, want)
			}
		}
		for _, one := range []struct {
			who       control.Principal
			namespace string
			want      string // its jobs, or what is said instead
		}{
			{one, "lab1", "j1"},
			{one, "lab2", "jobs:read@lab2"},
			{one, "default", "jobs:read@default"},
			{one, "nowhere", "jobs:read@nowhere"},
			{one, "*", "jobs:read@*"},
			{other, "default", "j0"},
			{root, "lab2", "j2"},
			{root, "default", "j0"},
			{root, "nowhere", ""},
			{root, "*", "invalid"},
			{root, "lab1.a", "invalid"},
		} {
			list, fresh, err := n1.Jobs(t.Context(), one.who, control.Read{}, work.JobFilter{Namespace: one.namespace}, control.Page{})
			var got []string
			for _, j := range list.Jobs {
				got = append(got, j.ID)
			}
			var refusal *wire.Error
			if errors.As(err, &refusal) {
				got = []string{cmp.Or(refusal.Needs, string(refusal.Code))}
			}
			if said := strings.Join(got, " "); said != one.want || err == nil && fresh.Filtered == (one.who == root) {
				t.Errorf("the jobs of %s for %s: %q, filtered %v; want %q: %v", one.namespace, one.who.Token(), said, fresh.Filtered, one.want, err)
			}
		}
		_, _, err = n1.Job(t.Context(), two, control.Read{}, "j1")
		refused(t, err, wire.CodeNotFound, `no job "j1"`)
		_, _, err = n1.CancelJob(t.Context(), two, "j1", "")
		refused(t, err, wire.CodeNotFound, `no job "j1"`)

		w.assign("j1", 0, 1, wire.SignedIn{FullName: "n1.hand", Session: "s9", Home: "n1"})
		_, _, err = n1.CancelJob(t.Context(), one, "j1", "")
		noError(t, err)
		_, _, err = n1.ForgetJob(t.Context(), one, "j1")
		noError(t, err)
		forgotten := n1.State().Index
		_, err = submit(two, "j1", "lab2")
		noError(t, err)
		seen := map[string]int{}
		for _, who := range []control.Principal{one, two} {
			cursor, err := n1.Events(who, []string{wire.TopicJob}, &control.Position{})
			noError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			events, _, err := cursor.Next(ctx)
			cancel()
			noError(t, err)
			for _, e := range events {
				seen[who.Token()+" "+e.Kind]++
				if whose := e.Key == "j1" && e.Index <= forgotten; whose != (who == one) {
					t.Errorf("%s sees %s of %s at %d", who.Token(), e.Kind, e.Key, e.Index)
				}
			}
		}
		if seen["t_one submitted"] != 1 || seen["t_one forgotten"] != 1 || seen["t_two submitted"] != 2 {
			t.Errorf("seen: %v", seen)
		}
	}, "n1")
}
