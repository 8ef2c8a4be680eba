package fsm

import (
	"fmt"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
)

// txn is a state while the commands of one entry work on it. A table is copied
// when the first of them touches it.
type txn struct {
	savepoint
	maxLevel    int
	shareCopies bool // a copy of a table serves all commands of the entry
	log         []Event
}

// savepoint is what a refused command is rolled back to. State.events is the
// number of events in the log of the txn.
type savepoint struct {
	State
	copies [domainCount]copied
}

// copied records of a domain whether its table is the txn's own copy, and what
// Writes said after the last command carried out.
type copied struct {
	own    bool
	writes int
}

func (tx *txn) access() *access.Table {
	tx.own(accessDomain)
	return tx.Access
}

func (tx *txn) registry() *registry.Table {
	tx.own(registryDomain)
	return tx.Registry
}

func (tx *txn) jobs() *jobs.Table {
	tx.own(jobsDomain)
	return tx.Jobs
}

func (tx *txn) audit() *audit.Table {
	tx.own(auditDomain)
	return tx.Audit
}

// own copies the table of a domain, once.
func (tx *txn) own(domain int) {
	if !tx.copies[domain].own {
		domains[domain].next(&tx.State)
		tx.copies[domain] = copied{own: true}
	}
}

// begin returns the savepoint to which the next command, refused, is rolled
// back.
func (tx *txn) begin() savepoint {
	if !tx.shareCopies {
		tx.copies = [domainCount]copied{}
	}
	return tx.savepoint
}

// rollback undoes a refused command: what it copied it wrote to alone. false
// says that it wrote to what earlier commands of the entry wrote to as well.
func (tx *txn) rollback(to savepoint) bool {
	for i, c := range to.copies {
		if c.own && domains[i].table(&tx.State).Writes() != c.writes {
			return false
		}
	}
	tx.savepoint, tx.log = to, tx.log[:to.events]
	return true
}

// commit keeps what a command did, carries out what its events do to domains
// further down, and collects all events, causes before their effects.
func (tx *txn) commit() {
	for i := range domains {
		if !tx.copies[i].own {
			continue
		}
		from := len(tx.log)
		domains[i].takeEvents(tx)
		for n := from; n < len(tx.log); n++ {
			if ended := tx.log[n].Ended; ended != nil {
				tx.release(ended, tx.log[n].At)
			}
			if gone := tx.log[n].TokenGone; gone != nil && tx.Registry.SessionsOfToken(gone.ID) > 0 {
				tx.registry().EndToken(gone.ID, reasonRevoked, tx.log[n].At)
			}
		}
		tx.copies[i].writes = domains[i].table(&tx.State).Writes()
	}
}

// reasonRevoked is why a session ended whose token is gone.
const reasonRevoked = "token revoked"

// signIn is that of the registry, for a token that is there.
func (tx *txn) signIn(c registry.SignIn, at time.Time) (registry.Session, error) {
	if strings.HasPrefix(c.Token, access.IDPrefix) {
		if _, ok := tx.Access.Token(c.Token); !ok {
			return registry.Session{}, errNoToken(tx.Access, c.Token)
		}
	}
	return tx.registry().SignIn(c, at)
}

// release takes from the jobs what hangs on a session that has ended.
func (tx *txn) release(ended *registry.Ended, at time.Time) {
	if tx.Jobs.Held(ended.ID) > 0 {
		release := tx.jobs().Release
		if ended.Kind == registry.EventExpired {
			release = tx.jobs().ReleaseVanished
		}
		release(ended.ID, fmt.Sprintf("worker %s is gone: %s", ended.FullName, ended.Reason), at)
	}
	if tx.Jobs.Health(ended.FullName).Session == ended.ID {
		tx.jobs().ResetHealth(ended.FullName, ended.ID)
	}
}

// append numbers an event and adds it to the log of the txn.
func (tx *txn) append(e Event) {
	e.Seq = tx.events
	tx.log = append(tx.log, e)
	tx.events++
}
