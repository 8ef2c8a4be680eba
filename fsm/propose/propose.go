// Package propose puts commands into the log, returns their outcomes and counts
// them.
package propose

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// Log orders commands and carries them out; *raftnode.Node is one. Propose
// blocks until the command is applied, with its index and its value, or until
// ctx ends.
type Log interface {
	Propose(ctx context.Context, command []byte) (index uint64, value any, err error)
}

// Timeout bounds a proposal whose context gives it more time, or has no
// deadline.
const Timeout = 30 * time.Second

// Proposer is the way of all writes of one coordinator. It is safe for
// concurrent use.
type Proposer struct {
	log Log
	now func() time.Time

	done, refused, notTried, unknown atomic.Uint64
}

// New returns a Proposer. now gives the times that commands are labelled with,
// and nothing else; nil is time.Now.
func New(log Log, now func() time.Time) *Proposer {
	if now == nil {
		now = time.Now
	}
	return &Proposer{log: log, now: now}
}

// Author is who asks for a command: its name in the log, and the token that must
// still have the rights when the command is carried out.
type Author = fsm.Author

// System is the author of what a coordinator does by itself: no token is asked
// for.
func System(by string) Author { return Author{By: by} }

// Do carries one command through the log, after this binary's limits are asked,
// and returns its reply and its index. It blocks for at most Timeout. The error
// is always a *wire.Error: a refusal, which changed nothing, unavailable (not
// tried), or unknown.
func Do[R any](ctx context.Context, p *Proposer, kind string, author Author, body any) (R, uint64, error) {
	var none R
	command, err := p.encode(kind, author, body)
	if err != nil {
		return none, 0, p.count(err)
	}
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > Timeout { // most callers gave one
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Timeout)
		defer cancel()
	}
	index, value, err := p.log.Propose(ctx, command)
	if err != nil {
		return none, index, p.count(asWire(err))
	}
	reply, err := fsm.As[R](value)
	if err != nil {
		return none, index, p.count(asWire(err))
	}
	return reply, index, p.count(nil)
}

// encode writes a command that is within the limits.
func (p *Proposer) encode(kind string, author Author, body any) ([]byte, error) {
	if err := fsm.Validate(body); err != nil {
		return nil, err
	}
	command, err := fsm.Encode(kind, p.now(), author, body)
	if err != nil && wire.CodeOf(err) == wire.CodeInternal {
		err = wire.Invalid("", "%v", err) // it never left: nothing is unknown about it
	}
	return command, err
}

// asWire keeps a *wire.Error and turns everything else into unknown: of an
// error without a code nobody can say what happened.
func asWire(err error) error {
	var known *wire.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return wire.Unknown(err)
}

// count counts an outcome and returns its error.
func (p *Proposer) count(err error) error {
	switch wire.CodeOf(err) {
	case "":
		p.done.Add(1)
	case wire.CodeUnavailable:
		p.notTried.Add(1)
	case wire.CodeUnknown, wire.CodeInternal:
		p.unknown.Add(1)
	default:
		p.refused.Add(1)
	}
	return err
}

// Outcomes returns how many proposals ended how, since the start: done, refused,
// not_tried, unknown.
func (p *Proposer) Outcomes() map[string]uint64 {
	return map[string]uint64{"done": p.done.Load(), "refused": p.refused.Load(), "not_tried": p.notTried.Load(), "unknown": p.unknown.Load()}
}
