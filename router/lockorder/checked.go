//go:build lockcheck

package lockorder

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// Checked tells whether this build checks the order.
const Checked = true

// Mutex is a sync.Mutex of rank R that panics when it is taken out of order.
type Mutex[R Rank] struct{ mu sync.Mutex }

// Lock locks m, or panics.
func (m *Mutex[R]) Lock() {
	acquire[R]()
	m.mu.Lock()
}

// TryLock is sync.Mutex's. It cannot wait, so any order is right for it; what is
// taken while it is held is checked.
func (m *Mutex[R]) TryLock() bool {
	if !m.mu.TryLock() {
		return false
	}
	hold[R]()
	return true
}

// Unlock unlocks m.
func (m *Mutex[R]) Unlock() {
	release[R]()
	m.mu.Unlock()
}

// RWMutex is a sync.RWMutex of rank R that panics when it is taken out of order.
type RWMutex[R Rank] struct{ mu sync.RWMutex }

// Lock locks m for writing, or panics.
func (m *RWMutex[R]) Lock() {
	acquire[R]()
	m.mu.Lock()
}

// Unlock unlocks m.
func (m *RWMutex[R]) Unlock() {
	release[R]()
	m.mu.Unlock()
}

// RLock locks m for reading, or panics.
func (m *RWMutex[R]) RLock() {
	acquire[R]()
	m.mu.RLock()
}

// RUnlock unlocks m.
func (m *RWMutex[R]) RUnlock() {
	release[R]()
	m.mu.RUnlock()
}

var (
	heldMu sync.Mutex
	held   = make(map[uint64][]int) // ranks that each goroutine holds
)

// names of the ranks, for messages.
var names = func() map[int]string {
	all := make(map[int]string)
	for _, r := range []Rank{WriteLock{}, Stream{}, Links{}, Link{}, Mailboxes{}, Table{}, Origin{}, Mailbox{}, Leaf{}} {
		place, name := r.rank()
		all[place] = name
	}
	return all
}()

func placeOf[R Rank]() int {
	var r R
	place, _ := r.rank()
	return place
}

func acquire[R Rank]() {
	place, id := placeOf[R](), goroutine()
	heldMu.Lock()
	defer heldMu.Unlock()
	if ranks := held[id]; len(ranks) > 0 {
		if most := slices.Max(ranks); most >= place {
			panic(fmt.Sprintf("lockorder: %s is taken while %s is held", names[place], names[most]))
		}
	}
	held[id] = append(held[id], place)
}

func hold[R Rank]() {
	id := goroutine()
	heldMu.Lock()
	defer heldMu.Unlock()
	held[id] = append(held[id], placeOf[R]())
}

func release[R Rank]() {
	place, id := placeOf[R](), goroutine()
	heldMu.Lock()
	defer heldMu.Unlock()
	at := slices.Index(held[id], place)
	if at < 0 {
		panic(fmt.Sprintf("lockorder: %s is released by a goroutine that does not hold it", names[place]))
	}
	held[id] = slices.Delete(held[id], at, at+1)
	if len(held[id]) == 0 {
		delete(held, id)
	}
}

// goroutine returns the id of the running one: there is no other way to it than
// the head of its stack.
func goroutine() uint64 {
	var buf [64]byte
	head := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	number, _, _ := bytes.Cut(head, []byte(" "))
	id, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}
