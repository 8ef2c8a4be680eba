package raftnode

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
)

// wrongTerm answers and asks with a term of its own making.
type wrongTerm struct {
	preVoteTransport
	term     uint64
	requests chan raft.RPC
	answers  chan raft.AppendFuture
}

func (v *wrongTerm) RequestVote(_ raft.ServerID, _ raft.ServerAddress, _ *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
	r.Term = v.term
	return nil
}

func (v *wrongTerm) RequestPreVote(_ raft.ServerID, _ raft.ServerAddress, _ *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	r.Term = v.term
	return nil
}

func (v *wrongTerm) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, _ *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	r.Term, r.Success = v.term, true
	return nil
}

func (v *wrongTerm) InstallSnapshot(_ raft.ServerID, _ raft.ServerAddress, _ *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	_, err := io.Copy(io.Discard, data)
	r.Term, r.Success = v.term, true
	return err
}

func (v *wrongTerm) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return &wrongPipeline{v}, nil
}

func (v *wrongTerm) Consumer() <-chan raft.RPC { return v.requests }
func (v *wrongTerm) Close() error              { return nil }

type wrongPipeline struct{ *wrongTerm }

func (p *wrongPipeline) AppendEntries(a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	r.Term, r.Success = p.term, true
	f := &answered{request: a, response: r}
	p.answers <- f
	return f, nil
}

func (p *wrongPipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// answered is a request of a pipeline with its answer.
type answered struct {
	raft.AppendFuture
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
}

func (f *answered) Request() *raft.AppendEntriesRequest   { return f.request }
func (f *answered) Response() *raft.AppendEntriesResponse { return f.response }

// serverAt is a server whose raft is not made yet, at a term.
func serverAt(t *testing.T, term uint64, log io.Writer) *Node {
	t.Helper()
	stable := raft.NewInmemStore()
	if term > 0 {
		if err := stable.SetUint64([]byte("CurrentTerm"), term); err != nil {
			t.Fatal(err)
		}
	}
	return &Node{ctx: t.Context(), log: slog.New(slog.NewTextHandler(log, nil)), stores: &disk.Stores{Stable: stable}}
}

// A term that no cluster has come to is taken from nobody, neither in a request nor in an answer: raft would keep it, and
// at the last number there is no next one to elect a leader in. Of no number is the next one refused.
func TestATermThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	const jump = 1 << 32
	for _, c := range []struct {
		own, term uint64
		taken     bool
	}{
		{7, 0, true},
		{7, 7, true},
		{7, 8, true},
		{7, 7 + jump, true},
		{7, 8 + jump, false},
		{7, 1 << 62, false},
		{7, math.MaxUint64, false},
		{1 << 62, 1<<62 + 1, true},
		{math.MaxUint64 - 1, math.MaxUint64, true},
		{math.MaxUint64, 1, true},
		{0, 1, true}, // a newcomer cannot know
		{0, 8 + jump, true},
		{0, math.MaxUint64, false},
	} {
		t.Run(fmt.Sprintf("from %d to %d", c.own, c.term), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkTerm(t, c.own, c.term, c.taken) })
		})
	}
}

func checkTerm(t *testing.T, own, term uint64, taken bool) {
	v := &wrongTerm{term: term, requests: make(chan raft.RPC), answers: make(chan raft.AppendFuture, 1)}
	q := newTransport(v, func(_ raft.ServerID, a raft.ServerAddress) raft.ServerAddress { return a }, serverAt(t, own, io.Discard))
	q.stillNeeded = func(raft.ServerID, uint64) bool { return false }
	for what, ask := range map[string]func() error{
		"a vote": func() error {
			return q.RequestVote("n2/a", "n2:1", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{})
		},
		"a promise of a vote": func() error {
			return q.RequestPreVote("n2/a", "n2:1", &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{})
		},
		"an answer to a heartbeat": func() error {
			return q.AppendEntries("n2/a", "n2:1", &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{})
		},
		"an answer to entries": func() error {
			return q.AppendEntries("n2/a", "n2:1", &raft.AppendEntriesRequest{PrevLogEntry: 7}, &raft.AppendEntriesResponse{})
		},
		"an answer to a snapshot": func() error {
			return q.InstallSnapshot("n2/a", "n2:1", &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader("rows"))
		},
	} {
		if err := ask(); (err == nil) != taken {
			t.Errorf("%s of that term: %v", what, err)
		}
	}
	checkPipelinedTerm(t, q, own, term, taken)
	for _, request := range []any{
		&raft.AppendEntriesRequest{Term: term}, &raft.RequestVoteRequest{Term: term}, &raft.RequestPreVoteRequest{Term: term}, &raft.InstallSnapshotRequest{Term: term},
	} {
		answer := make(chan raft.RPCResponse, 1)
		v.requests <- raft.RPC{Command: request, RespChan: answer}
		select {
		case rpc := <-q.Consumer():
			if !taken {
				t.Errorf("%T of that term reaches raft", rpc.Command)
			}
		case a := <-answer:
			if taken || a.Error == nil {
				t.Errorf("%T of that term is answered %v", request, a.Error)
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// checkPipelinedTerm asks by a pipeline. Raft ends it at an answer without success, and looks at no error of one.
func checkPipelinedTerm(t *testing.T, q *transport, own, term uint64, taken bool) {
	t.Helper()
	p, err := q.AppendEntriesPipeline("n2/a", "n2:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: own}, &raft.AppendEntriesResponse{}); err != nil {
		t.Fatal(err)
	}
	f := <-p.Consumer()
	if r := f.Response(); r.Success != taken || taken && r.Term != term || !taken && r.Term != own {
		t.Errorf("a pipelined answer of that term arrives as one of term %d, success %t", r.Term, r.Success)
	}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: own}, &raft.AppendEntriesResponse{}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // nobody takes this one: the bubble's end shows that Close lets go of it
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// The log names who sends such a term, and a flood of them is a line a second.
func TestADamagedSenderIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := serverAt(t, 7, &log)
		check := termCheck{own: n.ownTerm, log: n.log}
		for range 1000 {
			if check.checkRequest(&raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ID: []byte("n2/a")}, Term: math.MaxUint64}) == nil {
				t.Fatal("it is taken")
			}
		}
		time.Sleep(time.Second)
		if check.checkAnswer("n3/a", math.MaxUint64) == nil {
			t.Fatal("it is taken")
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "server=n2/a") || !strings.Contains(lines[1], "server=n3/a") || !strings.Contains(lines[1], "not_logged=999") {
			t.Errorf("the log says:\n%s", log.String())
		}
	})
}
