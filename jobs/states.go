package jobs

// StateCounts says how many jobs are in each state.
type StateCounts struct {
	Queued, Running, Done, Failed, Cancelled int
}

// States returns how many of the jobs that are kept are in each state. It looks
// at no job: the counts are kept with every change.
func (t *Table) States() StateCounts { return t.states }

func (c *StateCounts) add(state string, n int) {
	switch state {
	case Queued:
		c.Queued += n
	case Running:
		c.Running += n
	case Done:
		c.Done += n
	case Failed:
		c.Failed += n
	case Cancelled:
		c.Cancelled += n
	}
}
