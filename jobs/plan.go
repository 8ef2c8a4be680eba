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
	// May says whether it may work for jobs of a namespace; nil: for all.
	May func(namespace string) bool
}

// Plan says which waiting part should go to which worker: at most limit
// assignments, in the order they are to be carried out. Jobs come by priority,
// then submission; jobs of one group one at a time; no job has more than its
// Parallel parts at work; a part goes to the worker that has the job's runtime
// and labels, may work for its namespace, and has the smallest share of its
// slots in use, though not again to the one that last had it if there is
// another. A part that failed waits for a worker that has not failed it as long
// as there is one, busy or not. rests says of a part whose last attempt failed
// that it is not to be tried again yet; nil: none rests. Plan changes nothing.
func Plan(t *Table, workers []Worker, limit int, rests func(Part) bool) []Assignment {
	pl := newPlanner(t, workers)
	pl.rests = rests
	var plan []Assignment
	t.ready.scan(func(k activeKey) bool {
		r, _ := t.jobs.Get(k.id)
		plan = pl.planJob(plan, r, limit)
		return len(plan) < limit && pl.free > 0
	})
	return plan
}

type planner struct {
	t          *Table
	candidates []*candidate
	eligibleBy map[string][]*candidate // by what a job asks for
	free       int
	rests      func(Part) bool
	groups     map[string]string // groups that got their running job in this plan
}

// candidate is a worker with its load.
type candidate struct {
	Worker
	busy int
}

func (s *candidate) compare(o *candidate) int {
	return cmp.Or(cmp.Compare(s.busy*o.Slots, o.busy*s.Slots), cmp.Compare(s.FullName, o.FullName))
}

func newPlanner(t *Table, workers []Worker) *planner {
	pl := &planner{t: t, eligibleBy: map[string][]*candidate{}, groups: map[string]string{}}
	for _, w := range workers {
		s := &candidate{Worker: w, busy: t.Held(w.Session)}
		pl.candidates = append(pl.candidates, s)
		pl.free += max(0, s.Slots-s.busy)
	}
	return pl
}

// planJob adds assignments for one job to the plan.
func (pl *planner) planJob(plan []Assignment, r *record, limit int) []Assignment {
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
	class := pl.eligible(j)
	free := make(candidateHeap, 0, len(class))
	for _, s := range class {
		if s.busy < s.Slots {
			free = append(free, s)
		}
	}
	heap.Init(&free)
	give := func(p Part) bool {
		if free.Len() == 0 {
			return false
		}
		if p.FailedLast() && pl.rests != nil && pl.rests(p) {
			return true
		}
		s := free.pick(class, p)
		if s == nil {
			return true
		}
		s.busy++
		pl.free--
		if s.busy < s.Slots {
			heap.Push(&free, s)
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

// eligible returns the workers that can run the job.
func (pl *planner) eligible(j Job) []*candidate {
	namespace := j.InNamespace()
	key := j.Runtime + "\x00" + namespace
	for k, v := range sorted(j.Labels) {
		key += "\x00" + k + "\x00" + v
	}
	list, ok := pl.eligibleBy[key]
	if !ok {
		for _, s := range pl.candidates {
			if slices.Contains(s.Runtimes, j.Runtime) && hasLabels(s.Labels, j.Labels) && (s.May == nil || s.May(namespace)) {
				list = append(list, s)
			}
		}
		pl.eligibleBy[key] = list
	}
	return list
}

func hasLabels(have, want map[string]string) bool {
	for k, v := range sorted(want) {
		if h, ok := have[k]; !ok || h != v {
			return false
		}
	}
	return true
}

type candidateHeap []*candidate

func (h candidateHeap) Len() int           { return len(h) }
func (h candidateHeap) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h candidateHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *candidateHeap) Push(x any)        { *h = append(*h, x.(*candidate)) }
func (h *candidateHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// pick removes the least loaded candidate for a part: one that has not failed it,
// and then one that did not have it last. It is nil when the part is to wait
// for a busy worker of the class that has not failed it.
func (h *candidateHeap) pick(class []*candidate, p Part) *candidate {
	if p.Worker == "" {
		return heap.Pop(h).(*candidate)
	}
	failed := func(s *candidate) bool { return slices.Contains(p.FailedBy, s.FullName) }
	s := h.popFirst(func(s *candidate) bool { return !failed(s) && s.FullName != p.Worker })
	if s == nil {
		s = h.popFirst(func(s *candidate) bool { return !failed(s) })
	}
	if s != nil {
		return s
	}
	if slices.ContainsFunc(class, func(s *candidate) bool { return !s.Suspect && !failed(s) }) {
		return nil
	}
	if s = h.popFirst(func(s *candidate) bool { return s.FullName != p.Worker }); s == nil {
		s = heap.Pop(h).(*candidate)
	}
	return s
}

// popFirst removes the least loaded candidate that fits, nil if none does.
func (h *candidateHeap) popFirst(fits func(*candidate) bool) *candidate {
	var found *candidate
	var others []*candidate
	for h.Len() > 0 && found == nil {
		if s := heap.Pop(h).(*candidate); fits(s) {
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
