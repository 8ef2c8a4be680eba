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
	w.parts.syncing = true
	holding := w.parts.holding()
	w.call(func(ctx context.Context) func() {
		todo, err := w.home.Sync(ctx, holding)
		return func() {
			w.parts.syncing = false
			// Spread by a tenth, so that many workers do not come at once.
			w.parts.syncAt = time.Now().Add(w.cfg.SyncEvery - time.Duration(rand.Int64N(int64(w.cfg.SyncEvery)/10+1)))
			if err != nil {
				w.log.Debug("sync", "error", err)
				return
			}
			for _, ref := range todo.Cancel {
				w.discard(ref, "no longer given to this worker")
			}
			w.enqueue(todo.Run)
		}
	})
}

func (w *Worker) reportStarts(now time.Time) {
	refs := w.parts.startsDue(now)
	if len(refs) == 0 {
		return
	}
	w.parts.starting = true
	w.call(func(ctx context.Context) func() {
		verdicts, err := w.home.Start(ctx, refs)
		return func() {
			w.parts.starting = false
			if err != nil || len(verdicts) != len(refs) {
				w.log.Debug("start_parts is repeated", "parts", len(refs), "error", err)
				w.parts.startAt = time.Now().Add(w.parts.startPause.NextBackOff())
				return
			}
			w.parts.startPause.Reset()
			w.parts.startAt = time.Time{}
			for i, ref := range refs {
				switch verdicts[i].Code {
				case "":
					if t := w.parts.tasks[ref]; t != nil {
						t.startReported = true
					}
				case wire.CodeConflict, wire.CodeNotFound:
					// An ended one has its own verdict coming.
					if t := w.parts.tasks[ref]; t != nil && t.state == running {
						w.parts.resolved.add(ref)
						w.discard(ref, verdicts[i].Message)
					}
				default:
					w.parts.startAt = time.Now().Add(w.parts.startPause.NextBackOff())
				}
			}
		}
	})
}

// reportFinishes reports what has ended; what ends meanwhile goes with the next.
func (w *Worker) reportFinishes() {
	parts := w.parts.batch(0)
	if len(parts) == 0 {
		return
	}
	w.parts.finishing = true
	w.call(func(ctx context.Context) func() {
		verdicts, err := w.home.Finish(ctx, parts)
		return func() {
			w.parts.finishing = false
			if err == nil && len(verdicts) == len(parts) {
				w.parts.single = false
				before := len(w.parts.ended)
				w.parts.applyVerdicts(parts, verdicts)
				if len(w.parts.ended) < before {
					w.parts.finishPause.Reset()
					w.parts.finishAt = time.Time{}
					return
				}
			}
			w.log.Debug("finish_parts is repeated", "parts", len(parts), "error", err)
			w.parts.finishAt = time.Now().Add(w.parts.finishPause.NextBackOff())
			if refusal(err) {
				w.refusedBatch(parts, err)
			}
		}
	})
}

// refusedBatch finds the report for which a batch is refused by sending them one by one;
// that one becomes a failure, and if even this is refused it is dropped.
func (w *Worker) refusedBatch(parts []wire.PartDone, err error) {
	if len(parts) > 1 {
		w.parts.single = true
		return
	}
	v := wire.PartVerdict{PartRef: parts[0].PartRef, Code: wire.CodeOf(err), Message: err.Error()}
	w.parts.applyVerdicts(parts, []wire.PartVerdict{v})
}
