package jobs

import "time"

// Restored returns the rows of t, which was read from a file, as the table of the entry
// at index. Where the file is ahead of this log, its indices are lowered by so much that
// none is beyond index: those that would be below 1 become 1, and keep their order by
// their other keys. Whatever a session held is taken back, since all of them are over, which
// no part counts as a loss; what was known of broken workers is forgotten with them. No event
// tells of it.
func (t *Table) Restored(index, ahead uint64, reason string, at time.Time) *Table {
	out := &Table{index: index, owner: new(owner)}
	out.PutElapsed(t.elapsed)
	for j := range t.Jobs() {
		j.SubmitIndex, j.EndIndex, j.Index = Lowered(j.SubmitIndex, ahead), Lowered(j.EndIndex, ahead), Lowered(j.Index, ahead)
		out.PutJob(j)
	}
	for p := range t.PartRows() {
		p.EndedIndex = Lowered(p.EndedIndex, ahead)
		if p.State == Assigned || p.State == Running {
			p.Losses-- // its release counts one
		}
		out.PutPart(p)
	}
	var sessions []string
	out.holds.Scan(func(session string, _ int) bool {
		sessions = append(sessions, session)
		return true
	})
	for _, session := range sessions {
		out.Release(session, reason, at)
	}
	out.events = nil
	return out
}

// Lowered is an index of a log that is ahead of another by so much, in that other; 0 is
// none and stays.
func Lowered(index, ahead uint64) uint64 {
	switch {
	case index == 0:
		return 0
	case index <= ahead:
		return 1
	}
	return index - ahead
}
