package control_test

import (
	"math/rand/v2"
	"testing"

	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/wire"
)

// output is byte i of a try's output.
func output(i int64) byte { return byte(i*7 + i>>8 + i>>16) }

// Whatever a worker sends, twice or with output left out, a log has the first
// 256 KiB and the last 768 KiB at their places, and a mark where output is
// missing; also after a restart. With nothing left out there is no mark.
func TestLogKeepsItsBeginningAndItsEnd(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		worker := n1.worker(t, "hand")
		job := n1.submit(t, "count", 12)
		for part := range 12 {
			rng := rand.New(rand.NewPCG(uint64(part), 1))
			ref := w.assign(job, part, 1, worker)
			var end, kept int64 // of the output, and where what is kept behind the head begins
			kept = wire.LogHead
			for range 30 {
				offset := max(0, end-rng.Int64N(3)*rng.Int64N(50_000))
				if end >= wire.LogHead && part%3 == 2 && rng.IntN(6) == 0 {
					offset = end + rng.Int64N(2_000_000) // what came between was dropped
				}
				data := make([]byte, 1+rng.Int64N([]int64{100, 70_000, 70_000, 150_000}[part%4]))
				for i := range data {
					data[i] = output(offset + int64(i))
				}
				_, err := n1.call(t, worker.Secret, "append_log", wire.AppendLog{PartRef: ref, Offset: offset, Data: data})
				noError(t, err)
				if offset > end {
					kept = offset
				}
				end = max(end, offset+int64(len(data)))
				kept = max(kept, end-wire.LogTail)
			}
			if part == 5 {
				n1.stop()
				w.start("n1")
			}
			checkLog(t, n1, job, part, kept, end)
		}
	}, "n1")
}

// checkLog reads a whole log, which is to have the output from kept to end
// behind its head.
func checkLog(t *testing.T, at *testNode, job string, part int, kept, end int64) {
	t.Helper()
	q := work.LogQuery{Part: part}
	marks := 0
	for {
		c, err := at.PartLog(t.Context(), anyone, job, q)
		noError(t, err)
		if c.Offset != q.Offset {
			t.Fatalf("part %d: a chunk of offset %d, asked for %d", part, c.Offset, q.Offset)
		}
		if len(c.Data) == 0 {
			break
		}
		switch {
		case c.Cut:
			if marks++; c.Offset != wire.LogHead || c.Next != kept {
				t.Fatalf("part %d: a mark from %d to %d, want from %d to %d", part, c.Offset, c.Next, wire.LogHead, kept)
			}
		case c.Next != c.Offset+int64(len(c.Data)):
			t.Fatalf("part %d: %d bytes at %d, and then %d", part, len(c.Data), c.Offset, c.Next)
		default:
			for i, b := range c.Data {
				if b != output(c.Offset+int64(i)) {
					t.Fatalf("part %d: byte %d of the output is not what was written", part, c.Offset+int64(i))
				}
			}
		}
		q.Offset = c.Next
	}
	if q.Offset != end || (marks == 1) != (kept > wire.LogHead) {
		t.Errorf("part %d: read to %d with %d marks, want to %d; kept from %d on", part, q.Offset, marks, end, kept)
	}
}

// A log that is followed while it is overwritten shows each piece once, in
// order, and a mark for what its reader missed.
func TestFollowedLogIsOverwritten(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		worker := n1.worker(t, "hand")
		job := n1.submit(t, "count", 1)
		ref := w.assign(job, 0, 1, worker)
		write := func(from, to int64) {
			data := make([]byte, to-from)
			for i := range data {
				data[i] = output(from + int64(i))
			}
			_, err := n1.call(t, worker.Secret, "append_log", wire.AppendLog{PartRef: ref, Offset: from, Data: data})
			noError(t, err)
		}
		write(0, 900_000)
		chunks, err := n1.JobLogs(t.Context(), anyone, job, 0, true)
		noError(t, err)
		var next, missed int64
		first := true
		for c, err := range chunks {
			noError(t, err)
			if c.Offset != next {
				t.Errorf("a chunk at %d behind one to %d", c.Offset, next)
			}
			next = c.Next
			if c.Cut {
				missed += c.Next - c.Offset
			}
			if first { // the reader is at 128 KiB: all but the head of what it has not read is overwritten
				first = false
				for at := int64(900_000); at < 3_900_000; at += 300_000 {
					write(at, at+300_000)
				}
				_, err = n1.call(t, worker.Secret, "finish_parts", wire.FinishParts{Parts: []wire.PartDone{{PartRef: ref, OK: true}}})
				noError(t, err)
			}
		}
		if want := int64(3_900_000 - wire.LogTail - wire.LogHead); next != 3_900_000 || missed != want {
			t.Errorf("followed to %d with %d bytes missed, want to 3900000 with %d", next, missed, want)
		}
	}, "n1")
}
