package fsm

import (
	"context"
	"fmt"
)

// Wait blocks until View().Index is at least index, or ctx ends; its error then
// wraps that of ctx.
func (m *Machine) Wait(ctx context.Context, index uint64) error {
	return m.WaitFor(ctx, All, index)
}

// WaitFor is Wait for a resource: until it has changed at index or later.
func (m *Machine) WaitFor(ctx context.Context, r Resource, index uint64) error {
	if m.View().Changed(r) >= index {
		return nil
	}
	err := m.waiters[r].Wait(ctx, index, func() uint64 { return m.View().Changed(r) })
	if err != nil {
		return fmt.Errorf("wait for index %d, the state is at %d: %w", index, m.View().Index, err)
	}
	return nil
}

// wake wakes those whom a state that was published concerns.
func (m *Machine) wake(s *State) {
	for r := range resources {
		m.waiters[r].Wake(s.Changed(r))
	}
}
