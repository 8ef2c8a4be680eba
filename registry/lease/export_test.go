package lease

import (
	"context"
	"time"
)

// Look is one look of a Keeper; a test cannot make its process stand still.
var Look = (*Keeper).tick

// Sweeper is a Sweep whose looks a test times itself.
func Sweeper(cfg SweepConfig) (look func(ctx context.Context, last, now time.Time)) {
	s, err := newSweep(cfg)
	if err != nil {
		panic(err)
	}
	return s.tick
}
