package home

import (
	"context"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/registry"
)

// tokensEvery is how often what tokens may do is looked at without a change of
// them, since they expire, and how soon the end of sessions is tried again.
const tokensEvery = time.Second

// followTokens ends what goes on by a token that is not valid any more: streams
// and waits of this coordinator, and the sessions at home here that the log does
// not end with it, since only this coordinator knows the token. It does so until
// ctx ends, and once at the start for what ended before.
func (h *Home) followTokens(ctx context.Context) error {
	tick := time.NewTicker(tokensEvery)
	defer tick.Stop()
	var seen control.TokenState
	left := true
	for {
		local := h.TokensChanged()
		if now := h.TokenState(); now != seen {
			seen, left = now, true
		}
		h.Release()
		if left {
			left = !h.endLost(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-local:
		case <-h.tokensWake:
		case <-tick.C:
		}
	}
}

// noticeTokens has followTokens look, if the tokens in the state have changed
// since the last call. It is for the goroutine that follows the feed.
func (h *Home) noticeTokens() {
	if now := h.TokenState(); now != h.tokensSeen {
		h.tokensSeen = now
		select {
		case h.tokensWake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// endChunk is how many sessions end by one command at most.
const endChunk = 1000

// endLost ends the sessions at home here whose token is lost; false: not all of
// them, since there is no leader, say.
func (h *Home) endLost(ctx context.Context) bool {
	reasons := map[string][]registry.Fence{}
	for row := range h.State().Registry.SessionsOf(h.Self().ID) {
		if why := h.Lost(row); why != "" {
			reasons[why] = append(reasons[why], row.Fence())
		}
	}
	done := true
	for why, lost := range reasons {
		for chunk := range slices.Chunk(lost, endChunk) {
			if err := h.EndSessions(ctx, chunk, why); err != nil {
				h.Log().Warn("sessions whose token is not valid any more cannot be ended yet", "sessions", len(chunk), "error", err)
				done = false
			}
		}
	}
	return done
}
