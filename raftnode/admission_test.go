package raftnode_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
)

// speakAs opens a port that says it is a server of the cluster of r.
func speakAs(t *testing.T, r *socketServer, serverID string) *peer.Port {
	t.Helper()
	id, _, _ := strings.Cut(serverID, "/")
	p, err := peer.Listen(peer.Config{Addr: "127.0.0.1:0", Self: func() peer.Hello {
		return peer.Hello{Cluster: r.ClusterID(), ServerID: serverID, ID: id, Boot: 1}
	}})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// requireStranger checks that a server gets no stream and no call out of r but hello and join.
func requireStranger(t *testing.T, situation string, from *peer.Port, serverID string, r *socketServer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	id, _, _ := strings.Cut(serverID, "/")
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "no member of the cluster") {
			t.Errorf("%s, %s: got %v, want it refused as no member", situation, what, err)
		}
	}
	raft, err := from.RaftLayer().Dial(r.addr, 10*time.Second)
	refused("raft stream", err)
	if err == nil {
		raft.Close()
	}
	link, _, err := from.DialLink(ctx, r.addr, "")
	refused("link", err)
	if err == nil {
		link.Close()
	}
	for _, method := range []string{"raftnode.propose", "raftnode.read_index", "raftnode.vote", "control.read_log"} {
		_, err = from.Call(ctx, r.addr, method, []byte("x"))
		refused("call of "+method, err)
	}
	order := func(o map[string]any) error {
		body, err := json.Marshal(o)
		must(t, err)
		_, err = from.Call(ctx, r.addr, "raftnode.order", body)
		return err
	}
	refused("order to remove a member", order(map[string]any{"op": "remove", "id": r.cfg.ID}))
	refused("order to take another in", order(map[string]any{"op": "join", "peer": map[string]string{"server_id": "n8/a", "id": "n8", "address": "127.0.0.1:1"}}))
	hello := func(as string, boot uint64) error {
		body, err := json.Marshal(map[string]any{"server_id": as, "id": id, "address": from.Addr(), "boot": boot})
		must(t, err)
		_, err = from.Call(ctx, r.addr, "raftnode.hello", body)
		return err
	}
	if err := hello(serverID, 0); err != nil {
		t.Errorf("%s, hello: got %v, want an answer", situation, err)
	}
	if err := hello(r.ServerID(), 99); err == nil || !strings.Contains(err.Error(), "on a connection of") {
		t.Errorf("%s, hello as the server that is asked: got %v, want it refused: it would end that one", situation, err)
	}
}

// Raft streams, links and calls are for the servers of the newest configuration: not for a stranger, nor for another
// disk of a member's, nor for one that was removed. Each of them may say hello; joining lets it in.
func TestOnlyMembersAreAdmitted(t *testing.T) {
	all := startThreeSockets(t, nil)
	defer func() {
		for _, r := range all {
			r.stop()
		}
	}()
	writeAgain(t, all[0].server, "a")
	requireStranger(t, "a stranger", speakAs(t, all[0], "n9/aaaa"), "n9/aaaa", all[1])
	requireStranger(t, "a member's id with another incarnation", speakAs(t, all[0], "n3/ffff"), "n3/ffff", all[1])

	member := speakAs(t, all[0], all[2].ServerID())
	link, _, err := member.DialLink(context.Background(), all[1].addr, "n2")
	must(t, err)
	defer link.Close()
	eventually(t, "n3 is removed", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return all[0].RemoveMember(ctx, "n3") == nil
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = link.Read(make([]byte, 1))
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the link of a removed server is still open after a minute")
	}
	requireStranger(t, "a removed server", member, all[2].ServerID(), all[1])
	eventually(t, "n3 is a member again", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := all[0].AddMember(ctx, all[2].addr, false)
		return err == nil
	})
	writeAgain(t, all[0].server, "b")
	eventually(t, "n3 gets the log again", func() bool { return all[2].machine.has("b") })
}

// A server that was away while others came and went has a configuration without the leader. Those of it that are
// still members vouch for the leader, so that it gets the log.
func TestReturnAfterMembersWereReplaced(t *testing.T) {
	all := startThreeSockets(t, nil)
	defer func() {
		for _, r := range all {
			r.stop()
		}
	}()
	away := all[2]
	away.stop()
	n4 := newSocketServer(t, "n4")
	n4.start("127.0.0.1:0", nil)
	all[2] = n4 // it is stopped at the end
	defer away.stop()
	repeat := func(what string, do func(ctx context.Context) error) {
		t.Helper()
		eventually(t, what, func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return do(ctx) == nil
		})
	}
	repeat("n4 is taken in", func(ctx context.Context) error {
		_, err := all[0].AddMember(ctx, n4.addr, false)
		return err
	})
	eventually(t, "n4 votes", func() bool {
		m, ok := member(t, all[0].server, "n4")
		return ok && m.Suffrage == "voter" && ready(n4.server)
	})
	repeat("n4 leads", func(context.Context) error { return all[0].transferTo("n4") })
	repeat("n2 is removed", func(ctx context.Context) error { return all[0].RemoveMember(ctx, "n2") })
	writeAgain(t, all[0].server, "while away")
	away.start("127.0.0.1:0", nil)
	eventually(t, "the one that was away gets the log", func() bool { return away.machine.has("while away") })
}
