package node_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// A session watches what its token may read, whatever else there is: another topic is added to what it watches already,
// and one that is refused ends nothing.
func TestWatchesWithAFewRights(t *testing.T) {
	t.Parallel()
	m, nodes, operator := startMatrix(t, nil, nil)
	if _, _, err := operator.RaiseLevel(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	made, meta, err := operator.CreateToken(t.Context(), wire.NewToken{Grants: []string{"components:write@n1", "jobs:read@default"}})
	if err != nil {
		t.Fatal(err)
	}
	m.everywhere(meta.Index)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, door := range []string{"native", "ws"} {
		s, err := dialAt(ctx, nodes[1].Addrs(), door, made.Token, wire.SignIn{Name: "watches-" + door, Namespace: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		components, err := s.Watch(ctx)
		if err != nil {
			t.Fatalf("watch components by %s: %v", door, err)
		}
		next, stop := iter.Pull2(components)
		defer stop()
		jobs, err := s.Watch(ctx, wire.TopicJob)
		if err != nil {
			t.Fatalf("watch jobs by %s: %v", door, err)
		}
		nextJob, stopJobs := iter.Pull2(jobs)
		defer stopJobs()
		if _, err := s.Watch(ctx, wire.TopicMember); wire.CodeOf(err) != wire.CodeForbidden {
			t.Errorf("watch members by %s: %v, want forbidden", door, err)
		}
		seen, _, err := operator.SignIn(ctx, wire.SignIn{Name: "seen-" + door, Namespace: "n1"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := operator.Submit(ctx, wire.SubmitJob{ID: "seen-" + door, Runtime: "sh", Script: "true", Items: rawItems("1")}); err != nil {
			t.Fatal(err)
		}
		if e, err, ok := next(); err != nil || !ok || e.Key != seen.FullName {
			t.Errorf("by %s the components tell %+v, %v; want that %s is here", door, e, err, seen.FullName)
		}
		e, err, ok := nextJob()
		for ok && err == nil && e.Key == "seen-native" && door == "ws" { // from where the components were
			e, err, ok = nextJob()
		}
		if err != nil || !ok || e.Key != "seen-"+door {
			t.Errorf("by %s the jobs tell %+v, %v; want job seen-%s", door, e, err, door)
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}
