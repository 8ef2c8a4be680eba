package tokens

import (
	"context"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm/propose"
)

// usesEvery is how often it is looked at which tokens were used. What was not
// written, since there is no leader, say, is written by a later look.
const usesEvery = time.Minute

// Run writes into the state in which hour tokens were used last at this
// coordinator, until ctx ends: at most one write an hour for a token, many in one
// command. It is called once.
func (k *Tokens) Run(ctx context.Context) error {
	tick := time.NewTicker(usesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for used := range slices.Chunk(k.TokenUses(), access.MaxOver) {
			_, _, err := propose.Do[struct{}](ctx, k.Proposer(), access.KindTouch, propose.System(k.Self().ID), access.Touch{Used: used})
			if err != nil {
				k.Log().Debug("when tokens were used last cannot be written yet", "tokens", len(used), "error", err)
				break
			}
		}
	}
}
