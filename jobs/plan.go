package jobs

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/folkmoot/folkmoot/wire"
)

// Worker is a session that runs parts, as Plan needs to know it.
type Worker struct {
	FullName, Session, Home string
	Runtimes                []string
	Slots                   int
	Labels                  map[string]string
	// Suspect is a worker that no part waits for.
	Suspect bool
}

// Plan says which waiting part should go to which worker: at most limit
// assignments, in the order they are to be carried out. Jobs come by priority,
// then submission; jobs of one group one at a time; no job has more than its
// Parallel parts at work; a part goes to the worker that has the job's runtime
// and labels and the smallest share of its slots in use, though not again to
// the one that last had it if there is another. A part that failed waits for a
// worker that has not failed it as long as there is one, busy or not. rests
// says of a part whose last attempt failed that it is not to be tried again
// yet; nil: none rests. Plan changes nothing.
func Plan(t *Table, workers []Worker, limit int, rests func(Part) bool) []Assignment {
	pl := newPlanner(t, workers)
	pl.rests = rests
	var plan []Assignment
	t.ready.scan(func(k activeKey) bool {
		r, _ := t.jobs.Get(k.id)
		plan = pl.job(plan, r, limit)
		return len(plan) < limit && pl.free > 0
	})
	return plan
}

type planner struct {
	t       *Table
	seats   []*seat
	classes map[string][]*seat // by what a job asks for
	free    int
	rests   func(Part) bool
	groups  map[string]string // groups that got their running job in this plan
}

// seat is a worker with its load.
type seat struct {
	Worker
	busy int
}

func (s *seat) compare(o *seat) int {
	return cmp.Or(cmp.Compare(s.busy*o.Slots, o.busy*s.Slots), cmp.Compare(s.FullName, o.FullName))
}

func newPlanner(t *Table, workers []Worker) *planner {
	pl := &planner{t: t, classes: map[string][]*seat{}, groups: map[string]string{}}
	for _, w := range workers {
		s := &seat{Worker: w, busy: t.Held(w.Session)}
		pl.seats = append(pl.seats, s)
		pl.free += max(0, s.Slots-s.busy)
	}
	return pl
}

// job adds assignments for one job to the plan.
func (pl *planner) job(plan []Assignment, r *record, limit int) []Assignment {
	j := r.job
	if j.Group != "" {
		running, ok := pl.t.groups.Get(j.Group)
		if !ok {
			running, ok = pl.groups[j.Group]
		}
		if ok && running != j.ID {
			return plan
		}
	}
	want := min(j.Waiting(), limit-len(plan))
	if j.Parallel > 0 {
		want = min(want, j.Parallel-j.Counts.Assigned-j.Counts.Running)
	}
	if want <= 0 {
		return plan
	}
	class := pl.class(j)
	seats := make(seatHeap, 0, len(class))
	for _, s := range class {
		if s.busy < s.Slots {
			seats = append(seats, s)
		}
	}
	heap.Init(&seats)
	give := func(p Part) bool {
		if seats.Len() == 0 {
			return false
		}
		if p.FailedLast() && pl.rests != nil && pl.rests(p) {
			return true
		}
		s := seats.take(class, p)
		if s == nil {
			return true
		}
		s.busy++
		pl.free--
		if s.busy < s.Slots {
			heap.Push(&seats, s)
		}
		plan = append(plan, Assignment{
			Job: j.ID, Part: p.N, Attempt: p.Attempt + 1, Worker: s.FullName, Session: s.Session, Home: s.Home,
		})
		if j.Group != "" {
			pl.groups[j.Group] = j.ID
		}
		want--
		return want > 0
	}
	more := true
	r.waiting.Scan(func(n int) bool { more = give(r.part(n)); return more })
	for n := j.NextPart; more && n < j.Total; n++ {
		more = give(Part{N: n})
	}
	return plan
}

// class returns the workers that can run the job.
func (pl *planner) class(j Job) []*seat {
	key := j.Runtime
	for k, v := range sorted(j.Labels) {
		key += "\x00" + k + "\x00" + v
	}
	seats, ok := pl.classes[key]
	if !ok {
		for _, s := range pl.seats {
			if slices.Contains(s.Runtimes, j.Runtime) && carries(s.Labels, j.Labels) {
				seats = append(seats, s)
			}
		}
		pl.classes[key] = seats
	}
	return seats
}

func carries(have, want map[string]string) bool {
	for k, v := range sorted(want) {
		if h, ok := have[k]; !ok || h != v {
			return false
		}
	}
	return true
}

type seatHeap []*seat

func (h seatHeap) Len() int           { return len(h) }
func (h seatHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h seatHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *seatHeap) Push(x any)        { *h = append(*h, x.(*seat)) }
func (h *seatHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// take removes the least loaded seat for a part: one that has not failed it,
// and then one that did not have it last. It is nil when the part is to wait
// for a busy worker of the class that has not failed it.
func (h *seatHeap) take(class []*seat, p Part) *seat {
	if p.Worker == "" {
		return heap.Pop(h).(*seat)
	}
	failed := func(s *seat) bool { return slices.Contains(p.FailedBy, s.FullName) }
	s := h.first(func(s *seat) bool { return !failed(s) && s.FullName != p.Worker })
	if s == nil {
		s = h.first(func(s *seat) bool { return !failed(s) })
	}
	if s != nil {
		return s
	}
	if slices.ContainsFunc(class, func(s *seat) bool { return !s.Suspect && !failed(s) }) {
		return nil
	}
	if s = h.first(func(s *seat) bool { return s.FullName != p.Worker }); s == nil {
		s = heap.Pop(h).(*seat)
	}
	return s
}

// first removes the least loaded seat that fits, nil if none does.
func (h *seatHeap) first(fits func(*seat) bool) *seat {
	var found *seat
	var others []*seat
	for h.Len() > 0 && found == nil {
		if s := heap.Pop(h).(*seat); fits(s) {
			found = s
		} else {
			others = append(others, s)
		}
	}
	for _, s := range others {
		heap.Push(h, s)
	}
	return found
}

// maxSync bounds what one Sync hands out, in bytes of scripts and items; the
// next one hands out the rest.
const maxSync = 8 << 20

// Sync compares what a session holds by the table with what its worker says it
// holds: what it must run, and what it must drop.
func Sync(t *Table, session string, holding []wire.PartRef) wire.SyncedParts {
	has := make(map[wire.PartRef]bool, len(holding))
	out := wire.SyncedParts{Run: []wire.RunPart{}, Cancel: []wire.PartRef{}}
	for _, ref := range holding {
		has[ref] = true
		if p, ok := t.Part(ref.Job, ref.Part); !ok || p.Session != session || p.Attempt != ref.Attempt || (p.State != Assigned && p.State != Running) {
			out.Cancel = append(out.Cancel, ref)
		}
	}
	size := 0
	for p := range t.HeldBy(session) {
		j, _ := t.Job(p.Job)
		run := j.Run(p)
		if has[run.PartRef] {
			continue
		}
		size += len(run.Script) + len(run.Args) + len(run.Item)
		if size > maxSync && len(out.Run) > 0 {
			break
		}
		out.Run = append(out.Run, run)
	}
	return out
}
