package registry

import "time"

// EndAll ends every session for good: no take-over brings one back, and its component signs
// in anew. So it does to those of a file, which never come to life here: they are remembered
// as ended, before the own ones, so that of too many the own ones are remembered longest.
func (t *Table) EndAll(file *Table, reason string, at time.Time) {
	for s := range file.Sessions() {
		_, live := t.SessionByID(s.ID)
		_, over := t.Ended(s.ID)
		if !live && !over {
			t.writableCold().ended.put(&Ended{
				ID: s.ID, FullName: s.FullName, Home: s.Home, Kind: EventExpired, Reason: reason, At: at, Index: t.index, Attempt: s.Attempt, Final: true,
			})
		}
	}
	var all []*Session
	t.sessions.ascend("", func(s *Session) bool {
		all = append(all, s)
		return true
	})
	for _, s := range all {
		t.endSession(s, EventExpired, reason, at).Final = true
	}
}
