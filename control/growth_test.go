package control_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/snapshots"
	"github.com/folkmoot/folkmoot/wire"
)

// growth says of each use case that takes a principal what becomes of it while the disks are full: true is refused, since
// it makes the state grow.
var growth = map[string]bool{
	"SignIn": true, "Enter": true, "Submit": true, "CreateToken": true, "CreateJoinToken": true,
	"Restore": true, // a whole file goes through the log

	"SignOut": false, "SignOutAs": false, "RemoveComponent": false, "Heartbeat": false,
	"StartParts": false, "FinishParts": false, "SyncParts": false, "AppendLog": false, "CancelJob": false, "ForgetJob": false,
	"RevokeToken": false, "SignCertificate": false,
	"AddMember": false, "RemoveMember": false, "Promote": false, "Demote": false, "Transfer": false, "RaiseLevel": false, "SetAutopilot": false,
	"Send": false, "Request": false, "Call": false, "Inbox": false, // messages are not in the log

	"Components": false, "Component": false, "Lookup": false, "Names": false, "Namespaces": false, "Workers": false, "Events": false, "Doors": false, "Nodes": false,
	"AuthorizeOwner": false, "AuthorizeSession": false,
	"Jobs": false, "Job": false, "AwaitJob": false, "Parts": false, "Results": false, "EndedResults": false, "PartLog": false, "JobLogs": false,
	"Leader": false, "Status": false, "Members": false, "Autopilot": false, "Digest": false, "Level": false, "Snapshot": false,
	"Audit": false, "AuditAnchors": false, "Debug": false, "TokenList": false, "TokenByID": false, "OwnToken": false,
}

// While the disks are full what makes the state grow is refused, at every coordinator, before it is proposed; all else
// goes on, a repeat of what is there too, and what was refused is taken in once there is room.
func TestFullDiskRefusesGrowth(t *testing.T) {
	for name := range matrix {
		if _, said := growth[name]; !said {
			t.Errorf("what becomes of %s while the disks are full? It has no row in growth", name)
		}
	}
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.newestLevel()
		w.signWith(newAuthority(t))
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		open := present(control.Credentials{Remote: "10.0.0.7:1"})
		signIn := wire.SignIn{Name: "laser", Namespace: "n1"}
		laser, err := n1.SignIn(t.Context(), anyone, signIn, key)
		noError(t, err)
		stage := n1.signIn(t, "stage")
		worker := n1.worker(t, "w")
		job := n1.submit(t, "count", 2)
		part := w.assign(job, 0, 1, worker)
		synctest.Wait()

		w.refuses = func() error { return wire.NotTried("disk full: the volume of coordinator n1") }
		before := w.index
		grow := map[string]func(n *testNode) error{
			"SignIn": func(n *testNode) error {
				return ignore(n.SignIn(t.Context(), anyone, wire.SignIn{Name: "new", Namespace: "n1"}, "growth-key-0123456789"))
			},
			"Enter": func(n *testNode) error {
				_, _, _, err := n.Enter(t.Context(), anyone, wire.SignIn{Name: "other", Namespace: "n1"}, "")
				return err
			},
			"Submit": func(n *testNode) error {
				return ignore2(n.Submit(t.Context(), anyone, wire.SubmitJob{ID: "new", Runtime: "sh", Script: "true", Range: &wire.Range{To: 1}}, ""))
			},
			"CreateToken": func(n *testNode) error {
				return ignore(n.CreateToken(t.Context(), open, wire.NewToken{Grants: []string{"admin"}}, ""))
			},
			"CreateJoinToken": func(n *testNode) error {
				return ignore(n.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, ""))
			},
			"Restore": func(n *testNode) error {
				return ignore(n.Restore(t.Context(), open, snapshots.Target{Cluster: "c"}, func(context.Context) (io.Reader, error) { return strings.NewReader(""), nil }))
			},
		}
		for name, refusedNow := range growth {
			if (grow[name] != nil) != refusedNow {
				t.Errorf("%s has no call here", name)
			}
		}
		for name, call := range grow {
			for _, n := range []*testNode{n1, n2} {
				if err := call(n); wire.CodeOf(err) != wire.CodeUnavailable || !strings.Contains(err.Error(), "disk full: the volume of coordinator n1") {
					t.Errorf("%s at %s: %v, want unavailable because of the disk of n1", name, n.id, err)
				}
			}
		}
		if w.index != before {
			t.Errorf("%d entries were written for what is refused", w.index-before)
		}
		for name, use := range matrix {
			if err := use.call(t, n1, anyone); !growth[name] && err != nil && strings.Contains(err.Error(), "disk full") {
				t.Errorf("%s is refused: %v", name, err)
			}
		}

		again, err := n2.SignIn(t.Context(), anyone, signIn, key)
		if err != nil || again.Session != laser.Session {
			t.Errorf("a repeated sign-in: %+v, %v", again, err)
		}
		n2.takeOver(t, stage)
		n2.submit(t, job, 2)
		noError(t, ignore(n1.call(t, worker.Secret, "start_parts", wire.PartRefs{Parts: []wire.PartRef{part}})))
		noError(t, ignore(n1.call(t, worker.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{PartRef: part, OK: true}}})))
		noError(t, ignore(n1.Heartbeat(t.Context(), by(laser.Secret), laser.FullName)))
		noError(t, ignore2(n1.CancelJob(t.Context(), anyone, job, "")))
		noError(t, ignore2(n1.ForgetJob(t.Context(), anyone, job)))
		noError(t, ignore(n1.SignOut(t.Context(), by(laser.Secret), laser.FullName)))

		w.refuses = nil
		for _, name := range []string{"SignIn", "Enter", "Submit", "CreateJoinToken", "CreateToken"} { // the last, since tokens are asked for from then on
			if err := grow[name](n1); err != nil {
				t.Errorf("%s with room again: %v", name, err)
			}
		}
	}, "n1", "n2")
}
