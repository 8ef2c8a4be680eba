package raftnode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/folkmoot/folkmoot/raftnode/disk"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/histogram"
)

// applyResult is what raft passes from the machine to the proposer of an entry.
type applyResult struct {
	term      uint64
	committed time.Time // as far as this server has seen
	results   []wire.Result
}

// replica dresses a Machine as a raft.BatchingFSM. Batching is not for speed:
// it is the only way to be shown configuration entries too, and with them the
// machine's index has no holes but a term's first, empty entry.
type replica struct {
	machine  Machine
	applied  *appliedIndex
	progress *progress
	took     *histogram.Histogram // of applying an entry
	config   atomic.Uint64        // index of the newest configuration that it was shown
}

// Apply is for one entry; raft uses ApplyBatch.
func (r *replica) Apply(l *raft.Log) any { return r.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch hands every entry to the machine and records how far it is.
func (r *replica) ApplyBatch(logs []*raft.Log) []any {
	defer r.progress.begin()()
	answers := make([]any, len(logs))
	committed := time.Now()
	began := committed
	for i, l := range logs {
		var commands [][]byte
		if l.Type == raft.LogCommand {
			commands = splitCommands(l.Data)
		}
		results := r.machine.Apply(l.Index, commands)
		if len(results) != len(commands) {
			panic(fmt.Sprintf("log %d: the machine answered %d of %d commands", l.Index, len(results), len(commands)))
		}
		if l.Type == raft.LogConfiguration {
			r.config.Store(l.Index)
		}
		now := time.Now()
		r.took.Observe(now.Sub(began))
		began = now
		answers[i] = applyResult{term: l.Term, committed: committed, results: results}
		r.progress.moved.Add(1)
	}
	last := logs[len(logs)-1]
	r.applied.advance(last.Index, last.Term)
	return answers
}

// Snapshot freezes the machine; it is written beside later entries.
func (r *replica) Snapshot() (raft.FSMSnapshot, error) {
	defer r.progress.begin()()
	return frozen{r.machine.Freeze()}, nil
}

// Restore replaces the machine's state by a snapshot.
func (r *replica) Restore(in io.ReadCloser) error {
	defer in.Close()
	defer r.progress.begin()()
	meta, ok := disk.SnapshotMetaOf(in)
	if !ok {
		return errors.New("a snapshot came without its place in the log")
	}
	if err := r.machine.Restore(progressReader{in, r.progress}); err != nil {
		return fmt.Errorf("restore snapshot %s: %w", meta.ID, err)
	}
	r.config.Store(meta.ConfigurationIndex)
	r.applied.advance(meta.Index, meta.Term)
	return nil
}

type frozen struct{ io.WriterTo }

func (frozen) Release() {}

func (f frozen) Persist(sink raft.SnapshotSink) error {
	if _, err := f.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Many commands share one entry, a line each.
const separator = '\n'

func joinCommands(commands [][]byte) []byte { return bytes.Join(commands, []byte{separator}) }

// splitCommands undoes joinCommands; an empty entry has no commands.
func splitCommands(data []byte) [][]byte {
	if len(data) == 0 {
		return nil
	}
	return bytes.Split(data, []byte{separator})
}
