package unfinished_test

import (
	"testing"

	"github.com/folkmoot/folkmoot/wire/unfinished"
)

// The message that began longest ago goes, as many as it takes; what is over counts no more,
// and what was given up is not counted again.
func TestTheOldestGoes(t *testing.T) {
	t.Parallel()
	b := unfinished.New(100)
	gone := make(chan string, 10)
	begin := func(name string) *unfinished.Message { return b.Begin(func() { gone <- name }) }
	one, two, three := begin("one"), begin("two"), begin("three")
	one.Grow(60)
	two.Grow(40)
	if used, given := b.Counts(); used != 100 || given != 0 {
		t.Errorf("%d bytes are held and %d were given up, want 100 and 0", used, given)
	}
	three.Grow(1)
	if got := <-gone; got != "one" {
		t.Errorf("%s had to go, want the oldest", got)
	}
	if one.Grow(1000) {
		t.Error("what was given up goes on")
	}
	one.End()
	two.End()
	two.End()
	if used, given := b.Counts(); used != 1 || given != 1 {
		t.Errorf("%d bytes are held and %d were given up, want 1 and 1", used, given)
	}
	large := begin("large")
	if large.Grow(101) { // both go
		t.Error("more than the whole budget was granted")
	}
	if a, b := <-gone, <-gone; a != "three" && b != "three" {
		t.Errorf("%s and %s had to go, want both", a, b)
	}
	if used, given := b.Counts(); used != 0 || given != 3 {
		t.Errorf("%d bytes are held and %d were given up, want 0 and 3", used, given)
	}
	var none *unfinished.Budget
	m := none.Begin(nil)
	if !m.Grow(1 << 40) {
		t.Error("what has no limit was refused")
	}
	m.End()
}
