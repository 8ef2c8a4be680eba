package work

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// call runs f in a goroutine with the time limit of one call; f returns what
// the loop is to do with the answer.
func (w *Worker) call(f func(context.Context) func()) {
	w.wg.Go(func() {
		ctx, cancel := context.WithTimeout(w.ctx, w.cfg.CallTimeout)
		defer cancel()
		w.do <- f(ctx)
	})
}

func (w *Worker) sync() {
	w.desk.syncing = true
	holding := w.desk.holding()
	w.call(func(ctx context.Context) func() {
		todo, err := w.home.Sync(ctx, holding)
		return func() {
			w.desk.syncing = false
			// Spread by a tenth, so that many workers do not come at once.
			w.desk.syncAt = time.Now().Add(w.cfg.SyncEvery - time.Duration(rand.Int64N(int64(w.cfg.SyncEvery)/10+1)))
			if err != nil {
				w.log.Debug("sync", "error", err)
				return
			}
			for _, ref := range todo.Cancel {
				w.drop(ref, "no longer given to this worker")
			}
			w.take(todo.Run)
		}
	})
}

func (w *Worker) tellStarts(now time.Time) {
	refs := w.desk.starts(now)
	if len(refs) == 0 {
		return
	}
	w.desk.starting = true
	w.call(func(ctx context.Context) func() {
		verdicts, err := w.home.Start(ctx, refs)
		return func() {
			w.desk.starting = false
			if err != nil || len(verdicts) != len(refs) {
				w.log.Debug("start_parts is repeated", "parts", len(refs), "error", err)
				w.desk.startAt = time.Now().Add(w.desk.startPause.NextBackOff())
				return
			}
			w.desk.startPause.Reset()
			w.desk.startAt = time.Time{}
			for i, ref := range refs {
				switch verdicts[i].Code {
				case "":
					if t := w.desk.tasks[ref]; t != nil {
						t.startTold = true
					}
				case wire.CodeConflict, wire.CodeNotFound:
					// An ended one has its own verdict coming.
					if t := w.desk.tasks[ref]; t != nil && t.state == running {
						w.desk.settled.add(ref)
						w.drop(ref, verdicts[i].Message)
					}
				default:
					w.desk.startAt = time.Now().Add(w.desk.startPause.NextBackOff())
				}
			}
		}
	})
}

// tellFinishes reports what has ended; what ends meanwhile goes with the next.
func (w *Worker) tellFinishes() {
	parts := w.desk.batch(0)
	if len(parts) == 0 {
		return
	}
	w.desk.finishing = true
	w.call(func(ctx context.Context) func() {
		verdicts, err := w.home.Finish(ctx, parts)
		return func() {
			w.desk.finishing = false
			if err == nil && len(verdicts) == len(parts) {
				w.desk.single = false
				before := len(w.desk.ended)
				w.desk.finished(parts, verdicts)
				if len(w.desk.ended) < before {
					w.desk.finishPause.Reset()
					w.desk.finishAt = time.Time{}
					return
				}
			}
			w.log.Debug("finish_parts is repeated", "parts", len(parts), "error", err)
			w.desk.finishAt = time.Now().Add(w.desk.finishPause.NextBackOff())
			if refusal(err) {
				w.refusedBatch(parts, err)
			}
		}
	})
}

// refusedBatch finds the report that spoils a batch by telling them one by one;
// that one becomes a failure, and if even this is refused it is dropped.
func (w *Worker) refusedBatch(parts []wire.PartDone, err error) {
	if len(parts) > 1 {
		w.desk.single = true
		return
	}
	v := wire.PartVerdict{PartRef: parts[0].PartRef, Code: wire.CodeOf(err), Message: err.Error()}
	w.desk.finished(parts, []wire.PartVerdict{v})
}
