package fsm

import (
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
)

// Kinds of the commands of the state machine itself.
const (
	KindFound      = "fsm.found"
	KindRaiseLevel = "fsm.raise_level"
	KindGroup      = "fsm.group"

	KindBeginRestore  = "fsm.begin_restore"
	KindRestoreChunk  = "fsm.restore_chunk"
	KindCommitRestore = "fsm.commit_restore"
	KindDropRestore   = "fsm.drop_restore"
)

// catalogue is every command of the cluster. Add, with the level that
// brings the kind; never change or reuse one.
var catalogue = map[string]command{
	KindFound:      handler(1, (*txn).found),
	KindRaiseLevel: handler(1, (*txn).raiseLevel),
	KindGroup:      handler(1, (*txn).writeGroup),
	KindAutopilot:  handler(2, (*txn).setAutopilot),

	KindBeginRestore:  handler(restoreLevel, (*txn).beginRestore),
	KindRestoreChunk:  handler(restoreLevel, (*txn).addChunk),
	KindCommitRestore: handler(restoreLevel, (*txn).commitRestore),
	KindDropRestore:   handler(restoreLevel, (*txn).dropRestore),

	access.KindCreate:          tableHandler(2, (*txn).access, (*access.Table).Create),
	access.KindRevoke:          tableHandler(2, (*txn).access, (*access.Table).Revoke),
	access.KindExpire:          tableHandler(2, (*txn).access, (*access.Table).Expire),
	access.KindTouch:           tableHandler(2, (*txn).access, (*access.Table).Touch),
	access.KindCreateJoinToken: tableHandler(2, (*txn).access, (*access.Table).CreateJoinToken),
	access.KindUseJoinToken:    tableHandler(2, (*txn).access, (*access.Table).UseJoinToken),

	registry.KindAnnounce: handler(1, (*txn).announce),
	registry.KindForget:   tableHandler(1, (*txn).registry, (*registry.Table).Forget),
	registry.KindSignIn:   handler(1, (*txn).signIn),
	registry.KindSignOut:  tableHandler(1, (*txn).registry, (*registry.Table).SignOut),
	registry.KindExpire:   tableHandler(1, (*txn).registry, (*registry.Table).Expire),
	registry.KindRemove:   tableHandler(1, (*txn).registry, (*registry.Table).Remove),

	audit.KindAnchor: tableHandler(audit.Level, (*txn).audit, (*audit.Table).Anchor),

	jobs.KindSubmit:  tableHandler(1, (*txn).jobs, (*jobs.Table).Submit),
	jobs.KindAssign:  tableHandler(1, (*txn).jobs, (*jobs.Table).Assign),
	jobs.KindStart:   tableHandler(1, (*txn).jobs, (*jobs.Table).Start),
	jobs.KindFinish:  tableHandler(1, (*txn).jobs, (*jobs.Table).Finish),
	jobs.KindRequeue: tableHandler(1, (*txn).jobs, (*jobs.Table).Requeue),
	jobs.KindCancel:  tableHandler(1, (*txn).jobs, (*jobs.Table).Cancel),
	jobs.KindForget:  tableHandler(1, (*txn).jobs, (*jobs.Table).Forget),
	jobs.KindElapse:  tableHandler(1, (*txn).jobs, (*jobs.Table).Elapse),
}

// command is one line of the catalogue.
type command struct {
	level int // the cluster's level from which on it is offered
	// decode returns the level that the body needs, at least 1.
	decode func(entry) (level int, err error)
	run    func(*txn, entry) (any, error)
}

// tableHandler ties a command to the one method of the one table that carries it out.
func tableHandler[T, C, R any](level int, table func(*txn) *T, do func(*T, C, time.Time) (R, error)) command {
	return handler(level, func(tx *txn, c C, at time.Time) (R, error) { return do(table(tx), c, at) })
}

// handler ties a command to what carries it out. A body with fields that a later
// level brought has a method MinLevel.
func handler[C, R any](level int, do func(*txn, C, time.Time) (R, error)) command {
	bodies := sync.Pool{New: func() any { return new(C) }}
	decode := func(e entry) (c C, level int, err error) {
		body := bodies.Get().(*C)
		err, level = decodeBody(e.body, body), 1
		if l, ok := any(body).(interface{ MinLevel() int }); ok && err == nil {
			level = l.MinLevel()
		}
		c = *body
		*body = *new(C)
		bodies.Put(body)
		return c, level, err
	}
	return command{
		level: level,
		decode: func(e entry) (int, error) {
			_, level, err := decode(e)
			return level, err
		},
		run: func(tx *txn, e entry) (any, error) {
			c, level, err := decode(e)
			switch {
			case err != nil:
				return nil, &stopError{errUndecodable(e.kind, err)}
			case level > tx.Level:
				return nil, errLevel(&tx.State, e.kind, level)
			}
			return do(tx, c, e.at)
		},
	}
}
