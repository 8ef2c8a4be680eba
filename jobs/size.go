package jobs

import "fmt"

// Size is what jobs take of the memory of every coordinator, in what a
// submitter and his parts can make it grow by.
type Size struct {
	Jobs  int
	Parts int   // of these jobs, begun or not
	Input int64 // bytes of scripts, args, items, names and labels
	// Results are the bytes of the parts' results and error texts, and of the
	// names of workers that failed them.
	Results int64
}

// Size returns the sums over all jobs that are kept.
func (t *Table) Size() Size { return t.size }

// SizeOf returns the size of one job, the zero value if there is none.
func (t *Table) SizeOf(job string) Size {
	r, ok := t.jobs.Get(job)
	if !ok {
		return Size{}
	}
	return r.size
}

func (s *Size) add(o Size, sign int) {
	s.Jobs += sign * o.Jobs
	s.Parts += sign * o.Parts
	s.Input += int64(sign) * o.Input
	s.Results += int64(sign) * o.Results
}

// resize sets the size of a writable record and brings the sums in line.
func (t *Table) resize(r *record, size Size) {
	t.size.add(r.size, -1)
	r.size = size
	t.size.add(size, 1)
}

// Bytes returns what Size.Input counts of a spec.
func (s Spec) Bytes() int64 {
	n := len(s.Name) + len(s.Group) + len(s.Script) + len(s.Args)
	for _, item := range s.Items {
		n += len(item)
	}
	for k, v := range sorted(s.Labels) {
		n += len(k) + len(v)
	}
	return int64(n)
}

func (p *Part) bytes() int64 {
	n := len(p.Result) + len(p.Error)
	for _, worker := range p.FailedBy {
		n += len(worker)
	}
	return int64(n)
}

// QuotaError begins the error text of a part whose result found no room.
const QuotaError = "result_quota: "

// overQuota says why n more bytes of results find no room; "" when they do.
// all bounds the results of all jobs; 0 is no bound.
func (t *Table) overQuota(r *record, n int, all int64) string {
	more := int64(n)
	switch quota := r.job.ResultQuota; {
	case quota > 0 && r.size.Results+more > quota:
		return fmt.Sprintf(QuotaError+"%d bytes more do not fit: the results of job %s have %d of at most %d bytes; "+
			"let parts return less, or keep the data elsewhere and return where it is", n, r.job.ID, r.size.Results, quota)
	case all > 0 && t.size.Results+more > all:
		return fmt.Sprintf(QuotaError+"%d bytes more do not fit: the results of all jobs have %d of at most %d bytes; "+
			"forget jobs that have ended, or give new ones a shorter keep", n, t.size.Results, all)
	}
	return ""
}

// errorText is what is kept of an error text beside grown bytes that its part
// takes already: it counts as a result does, but an attempt that failed may be
// tried again whether there is room for its text or not.
func (t *Table) errorText(r *record, text string, grown int64, all int64) string {
	text = truncateError(text)
	if t.overQuota(r, len(text)+int(grown), all) != "" {
		return QuotaError + "no room for the error text; see the log of the part"
	}
	return text
}
