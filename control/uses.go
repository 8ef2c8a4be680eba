package control

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/access"
)

// uses are in which hour each token of the state was used last at this coordinator.
type uses struct{ hours sync.Map } // of id to *atomic.Int64, in hours since 1970

// note notes that a token is used. It writes at most once an hour for each.
func (u *uses) note(id string, now time.Time) {
	hour := now.Unix() / int64(time.Hour/time.Second)
	known, ok := u.hours.Load(id)
	if !ok {
		known, _ = u.hours.LoadOrStore(id, new(atomic.Int64))
	}
	if last := known.(*atomic.Int64); last.Load() < hour {
		last.Store(hour)
	}
}

// TokenUses returns the tokens that were used here in a later hour than the state
// has of them, by id. Those that are gone are forgotten.
func (a *Authenticator) TokenUses() []access.Use {
	var list []access.Use
	table := a.view().Access
	a.uses.hours.Range(func(key, hour any) bool {
		row, ok := table.Token(key.(string))
		if !ok {
			a.uses.hours.Delete(key)
			return true
		}
		at := time.Unix(hour.(*atomic.Int64).Load()*int64(time.Hour/time.Second), 0).UTC()
		if at.After(row.LastUsed) {
			list = append(list, access.Use{Token: row.ID, At: at})
		}
		return true
	})
	slices.SortFunc(list, func(a, b access.Use) int { return cmp.Compare(a.Token, b.Token) })
	return list
}
