//go:build lockcheck

package lockorder

import (
	"strings"
	"testing"
)

// panics returns what f panics with.
func panics(f func()) (got any) {
	defer func() { got = recover() }()
	f()
	return nil
}

func TestLocksOutOfOrderPanic(t *testing.T) {
	var stream Mutex[Stream]
	var link, other Mutex[Link]
	var boxes RWMutex[Mailboxes]
	inOrder := func() {
		stream.Lock()
		link.Lock()
		boxes.RLock()
		boxes.RUnlock()
		link.Unlock()
		other.Lock()
		other.Unlock()
		stream.Unlock()
	}
	if got := panics(inOrder); got != nil {
		t.Fatalf("locks in their order: %v", got)
	}
	for want, f := range map[string]func(){
		"Stream is taken while Link is held":   stream.Lock,
		"Link is taken while Link is held":     other.Lock,
		"Mailboxes is released by a goroutine": boxes.RUnlock,
	} {
		link.Lock()
		got, _ := panics(f).(string)
		link.Unlock()
		if !strings.Contains(got, want) {
			t.Errorf("got panic %q, want %q", got, want)
		}
	}
	// What only tries cannot wait; what is taken under it is checked.
	link.Lock()
	var write Mutex[WriteLock]
	if !write.TryLock() {
		t.Fatal("a free lock cannot be taken")
	}
	write.Unlock()
	link.Unlock()
}
