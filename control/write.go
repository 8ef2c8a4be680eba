package control

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/wire"
)

// writeTimeout bounds a write whose door gave no deadline of its own.
const writeTimeout = 30 * time.Second

// propose carries one command through the log and returns its reply and its
// index. The error is a refusal, unavailable or unknown.
func propose[R any](ctx context.Context, c *Control, kind, by string, body any) (R, uint64, error) {
	var none R
	if err := fsm.Validate(body); err != nil {
		return none, 0, c.counted.write(err)
	}
	command, err := fsm.Encode(kind, c.now().UTC(), by, body)
	if err != nil {
		if wire.CodeOf(err) == wire.CodeInternal {
			err = wire.Invalid("", "%v", err) // it never left: nothing is unknown about it
		}
		return none, 0, c.counted.write(err)
	}
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > writeTimeout { // most doors gave one
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, writeTimeout)
		defer cancel()
	}
	index, value, err := c.node.Propose(ctx, command)
	if err != nil {
		return none, index, c.counted.write(asWire(err))
	}
	reply, err := fsm.As[R](value)
	if err != nil {
		return none, index, c.counted.write(err)
	}
	return reply, index, c.counted.write(nil)
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

// counters count the outcomes of writes since the start.
type counters struct {
	done, refused, notTried, unknown atomic.Uint64
}

func (n *counters) write(err error) error {
	switch wire.CodeOf(err) {
	case "":
		n.done.Add(1)
	case wire.CodeUnavailable:
		n.notTried.Add(1)
	case wire.CodeUnknown, wire.CodeInternal:
		n.unknown.Add(1)
	default:
		n.refused.Add(1)
	}
	return err
}

func (n *counters) writes() map[string]uint64 {
	return map[string]uint64{"done": n.done.Load(), "refused": n.refused.Load(), "not_tried": n.notTried.Load(), "unknown": n.unknown.Load()}
}
