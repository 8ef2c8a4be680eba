package node

import (
	"errors"
	"testing"
	"time"
)

// Two processes that each write the row whenever it is the other's write it a few
// times, not as fast as the log takes it; a row that was right for long is mended
// at once.
func TestRowsThatFightAreWrittenSeldom(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	won := [2]time.Duration{announceFirst, announceLast}
	var pace [2]pacer
	written, owner := 0, 0
	for end := now.Add(20 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		for i := range pace {
			if owner != i && pace[i].rest(now) <= 0 {
				pace[i].tried(now, won)
				owner = i
				written++
			}
		}
	}
	if written > 20 {
		t.Errorf("in 20 s the row was written %d times, want at most 20", written)
	}
	now = now.Add(time.Hour)
	if rest := pace[0].rest(now); rest > 0 {
		t.Errorf("a row that was left alone for an hour waits %s", rest)
	}
	pace[0].tried(now, won)
	if rest := pace[0].rest(now); rest != announceFirst {
		t.Errorf("after that the next waits %s, want %s", rest, announceFirst)
	}
	pace[0].tried(now, [2]time.Duration{announceLast, announceLast})
	if rest := pace[0].rest(now); rest != announceLast {
		t.Errorf("after a refusal the next waits %s, want %s", rest, announceLast)
	}
}

// What was given as a name is announced as that name, whatever it leads to.
func TestAnnouncedAddr(t *testing.T) {
	for _, c := range []struct{ given, bound, advertised, want string }{
		{"n1.local:7380", "127.0.0.1:7380", "127.0.0.1:7300", "n1.local:7380"},
		{"n1.local:0", "192.0.2.7:40123", "peer.local:7300", "n1.local:40123"},
		{"localhost:0", "127.0.0.1:40123", "127.0.0.1:7300", "localhost:40123"},
		{"0.0.0.0:7380", "0.0.0.0:7380", "n1.local:7300", "n1.local:7380"},
		{":7380", "[::]:7380", "n1.local:7300", "n1.local:7380"},
		{"[::]:0", "[::]:7380", "192.0.2.7:7300", "192.0.2.7:7380"},
		{"192.0.2.7:0", "192.0.2.7:7380", "n1.local:7300", "192.0.2.7:7380"},
		{"[2001:db8::1]:7380", "[2001:db8::1]:7380", "n1.local:7300", "[2001:db8::1]:7380"},
	} {
		if got := announcedAddr(c.given, c.bound, c.advertised); got != c.want {
			t.Errorf("given %s, bound to %s, peers at %s: announced as %s, want %s", c.given, c.bound, c.advertised, got, c.want)
		}
	}
}

// A door that listens everywhere is never announced as on loopback, unless that
// is what --advertise says.
func TestAdvertisedFor(t *testing.T) {
	hostname := func() (string, error) { return "lab1", nil }
	for _, c := range []struct {
		bound, explicit, peers, want string
		named                        bool
	}{
		{"0.0.0.0:12300", "", "127.0.0.1:7300", "lab1:12300", true},
		{"[::]:12300", "", "localhost:7300", "lab1:12300", true},
		{"0.0.0.0:12300", "127.0.0.1:7300", "127.0.0.1:7300", "127.0.0.1:12300", false},
		{"0.0.0.0:12300", "n1.local:7300", "n1.local:7300", "n1.local:12300", false},
		{"0.0.0.0:12300", "", "192.0.2.7:7300", "192.0.2.7:12300", false},
		{"127.0.0.1:12300", "", "127.0.0.1:7300", "127.0.0.1:12300", false},
	} {
		advertised, named, err := advertisedFor(c.bound, c.explicit, c.peers, hostname)
		if got := announcedAddr(c.bound, c.bound, advertised); got != c.want || named != c.named || err != nil {
			t.Errorf("bound to %s with --advertise %q, peers at %s: announced as %s, by name %t, %v; want %s, %t",
				c.bound, c.explicit, c.peers, got, named, err, c.want, c.named)
		}
	}
	refused := func() (string, error) { return "", errors.New("no name") }
	if got, _, err := advertisedFor("0.0.0.0:1", "", "127.0.0.1:2", refused); got != "127.0.0.1:2" || err == nil {
		t.Errorf("a host without a name: got %s, %v", got, err)
	}
}
