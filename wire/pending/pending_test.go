package pending_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/folkmoot/folkmoot/wire/pending"
)

// Of too many connections the oldest one of the host that has most goes, never the new one,
// and never one of a host that has few.
func TestTheFloodMakesRoom(t *testing.T) {
	t.Parallel()
	s := pending.New[string](4)
	for _, c := range []struct{ conn, remote, evicted string }{
		{"few", "192.0.2.1:1", ""},
		{"flood1", "192.0.2.9:1", ""},
		{"flood2", "192.0.2.9:2", ""},
		{"flood3", "[::ffff:192.0.2.9]:3", ""}, // the same host
		{"flood4", "192.0.2.9:4", "flood1"},
		{"other", "192.0.2.2:1", "flood2"},
		{"third", "192.0.2.3:1", "flood3"},
		{"fourth", "192.0.2.4:1", "few"}, // all have one
		{"net1", "[2001:db8::1]:1", "flood4"},
		{"net2", "[2001:db8::2]:1", "net1"}, // one network, one host
		{"net3", "[2001:db8::3]:1", "net2"},
		{"pipe", "pipe", "other"},
	} {
		evicted, full := s.Add(c.conn, c.remote)
		if evicted != c.evicted || full != (c.evicted != "") {
			t.Errorf("%s from %s: %q gave way, %v; want %q", c.conn, c.remote, evicted, full, c.evicted)
		}
	}
	if got, want := s.All(), []string{"third", "fourth", "net3", "pipe"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if s.Remove("few") || !s.Remove("fourth") || s.Remove("fourth") || s.Len() != 3 {
		t.Errorf("after removing: %v", s.All())
	}
}

// A host that proves itself quickly always gets in, however fast another one comes.
func TestAFloodKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	s := pending.New[string](64)
	for i := range 1000 {
		s.Add(fmt.Sprint("flood", i), fmt.Sprintf("192.0.2.9:%d", i+1))
		if i%100 == 0 {
			s.Add(fmt.Sprint("real", i), "192.0.2.1:1")
		}
		if i%100 == 99 && !s.Remove(fmt.Sprint("real", i-99)) {
			t.Errorf("the real one of round %d had to go", i/100)
		}
		if s.Len() > 64 {
			t.Fatalf("%d are in", s.Len())
		}
	}
}
