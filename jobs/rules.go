package jobs

import (
	"math"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Rules of level 1: the numbers by which the log is judged, the same ones in
// every binary for ever, and so are the texts that end up in rows. Whoever needs
// another value adds it with a new level, or lets it travel in the command as
// MaxLosses and ResultQuota do, and leaves these to the logs of before. What a
// binary may choose by itself is a limit (limits.go), which no command is judged
// by once it is written down.
const (
	// LossLimit is how often a part is lost, for whatever reason, until it is
	// given up.
	LossLimit = 10
	// SuspectAt is how many blames make a worker suspect. A blame is a failed
	// attempt at a part that another worker then did; an attempt that succeeds
	// takes one back.
	SuspectAt = 3
	maxBlamed = 9 // so that a worker that was repaired is trusted again soon
	// maxFailedBy bounds the workers remembered for one part, the latest ones.
	maxFailedBy  = 16
	maxErrorText = 4 << 10 // bytes kept of an error text or of the reason of a loss
	maxLastLine  = 200     // bytes of the line of it that becomes the reason of a job
	maxTotal     = math.MaxInt32
)

// checkRules refuses a job of which no row can be made.
func (c *Submit) checkRules() error {
	s := &c.Spec
	switch {
	case c.ID == "":
		return wire.Invalid("id", "id is empty")
	case c.ResultQuota < 0:
		return wire.Invalid("result_quota", "result_quota %d is below 0", c.ResultQuota)
	case len(s.Items) > 0 && s.Range != (wire.Range{}):
		return wire.Invalid("items", "a job has items or a range, not both")
	case len(s.Items) == 0 && (chunks(s.Range) == 0 || chunks(s.Range) > maxTotal):
		return wire.Invalid("range", "a job has 1 to %d parts", maxTotal)
	case s.Parallel < 0:
		return wire.Invalid("parallel", "parallel %d is below 0", s.Parallel)
	case s.MaxAttempts < 1:
		return wire.Invalid("max_attempts", "max_attempts %d is below 1", s.MaxAttempts)
	case s.MaxLosses < 0:
		return wire.Invalid("max_losses", "max_losses %d is below 0", s.MaxLosses)
	case s.Timeout < 0:
		return wire.Invalid("timeout", "timeout %v is below 0", time.Duration(s.Timeout))
	case s.PartTimeout <= 0:
		return wire.Invalid("part_timeout", "part_timeout %v is not above 0", time.Duration(s.PartTimeout))
	case s.Keep <= 0:
		return wire.Invalid("keep", "keep %v is not above 0", time.Duration(s.Keep))
	}
	return nil
}
