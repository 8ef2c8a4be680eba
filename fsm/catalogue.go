package fsm

import (
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
)

// Kinds of the commands of the state machine itself.
const (
	KindFound      = "fsm.found"
	KindRaiseLevel = "fsm.raise_level"
	KindGroup      = "fsm.group"
)

// catalogue is all the cluster can be told to do. Add, with the level that
// brings the kind; never change or reuse one.
var catalogue = map[string]command{
	KindFound:      on(1, (*draft).found),
	KindRaiseLevel: on(1, (*draft).raiseLevel),
	KindGroup:      on(1, (*draft).group),

	registry.KindAnnounce: on(1, (*draft).announce),
	registry.KindForget:   in(1, (*draft).registry, (*registry.Table).Forget),
	registry.KindSignIn:   in(1, (*draft).registry, (*registry.Table).SignIn),
	registry.KindSignOut:  in(1, (*draft).registry, (*registry.Table).SignOut),
	registry.KindExpire:   in(1, (*draft).registry, (*registry.Table).Expire),
	registry.KindRemove:   in(1, (*draft).registry, (*registry.Table).Remove),

	jobs.KindSubmit:  in(1, (*draft).jobs, (*jobs.Table).Submit),
	jobs.KindAssign:  in(1, (*draft).jobs, (*jobs.Table).Assign),
	jobs.KindStart:   in(1, (*draft).jobs, (*jobs.Table).Start),
	jobs.KindFinish:  in(1, (*draft).jobs, (*jobs.Table).Finish),
	jobs.KindRequeue: in(1, (*draft).jobs, (*jobs.Table).Requeue),
	jobs.KindCancel:  in(1, (*draft).jobs, (*jobs.Table).Cancel),
	jobs.KindForget:  in(1, (*draft).jobs, (*jobs.Table).Forget),
	jobs.KindElapse:  in(1, (*draft).jobs, (*jobs.Table).Elapse),
}

// command is one line of the catalogue.
type command struct {
	level int // the cluster's level from which on it is offered
	check func(entry) error
	run   func(*draft, entry) (any, error)
}

// in ties a command to the one method of the one table that carries it out.
func in[T, C, R any](level int, table func(*draft) *T, do func(*T, C, time.Time) (R, error)) command {
	return on(level, func(d *draft, c C, at time.Time) (R, error) { return do(table(d), c, at) })
}

// on ties a command to what carries it out.
func on[C, R any](level int, do func(*draft, C, time.Time) (R, error)) command {
	bodies := sync.Pool{New: func() any { return new(C) }}
	read := func(e entry) (c C, err error) {
		body := bodies.Get().(*C)
		err = decodeBody(e.body, body)
		c = *body
		*body = *new(C)
		bodies.Put(body)
		return c, err
	}
	return command{
		level: level,
		check: func(e entry) error {
			_, err := read(e)
			return err
		},
		run: func(d *draft, e entry) (any, error) {
			c, err := read(e)
			if err != nil {
				return nil, &stopError{undecodable(e.kind, err)}
			}
			return do(d, c, e.at)
		},
	}
}
