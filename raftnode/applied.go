package raftnode

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire/indexwait"
)

// appliedIndex is how far this process's own machine is, which raft's AppliedIndex
// does not tell: that one runs ahead of the machine.
type appliedIndex struct {
	mu      sync.Mutex
	index   uint64 // last entry that reached the machine
	term    uint64 // its term
	waiting indexwait.List
}

// advance notes that the machine has everything up to index.
func (p *appliedIndex) advance(index, term uint64) {
	p.mu.Lock()
	p.index, p.term = index, term
	p.mu.Unlock()
	p.waiting.Wake(index)
}

func (p *appliedIndex) current() (index, term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.index, p.term
}

func (p *appliedIndex) currentIndex() uint64 {
	index, _ := p.current()
	return index
}

// injectInterval is the pause between two calls of wait's prompt.
const injectInterval = time.Millisecond

// wait blocks until the machine has reached index or ctx ends. Meanwhile it calls
// prompt, which may make the machine move on, at once and every injectInterval; nil
// waits only.
func (p *appliedIndex) wait(ctx context.Context, index uint64, prompt func()) error {
	reached, stop := p.waiting.Reached(index, p.currentIndex)
	defer stop()
	var again <-chan time.Time
	if prompt != nil {
		select {
		case <-reached:
			return nil
		default:
		}
		tick := time.NewTicker(injectInterval)
		defer tick.Stop()
		again = tick.C
		prompt()
	}
	for {
		select {
		case <-reached:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("wait for index %d (at %d): %w", index, p.currentIndex(), context.Cause(ctx))
		case <-again:
			select {
			case <-reached:
				return nil
			default:
			}
			prompt()
		}
	}
}
