package node

import (
	"errors"
	"testing"
)

// What was configured as a name is announced as that name, whatever it resolves to.
func TestExternalAddr(t *testing.T) {
	for _, c := range []struct{ configured, bound, advertised, want string }{
		{"n1.local:7380", "127.0.0.1:7380", "127.0.0.1:7300", "n1.local:7380"},
		{"n1.local:0", "192.0.2.7:40123", "peer.local:7300", "n1.local:40123"},
		{"localhost:0", "127.0.0.1:40123", "127.0.0.1:7300", "localhost:40123"},
		{"0.0.0.0:7380", "0.0.0.0:7380", "n1.local:7300", "n1.local:7380"},
		{":7380", "[::]:7380", "n1.local:7300", "n1.local:7380"},
		{"[::]:0", "[::]:7380", "192.0.2.7:7300", "192.0.2.7:7380"},
		{"192.0.2.7:0", "192.0.2.7:7380", "n1.local:7300", "192.0.2.7:7380"},
		{"[2001:db8::1]:7380", "[2001:db8::1]:7380", "n1.local:7300", "[2001:db8::1]:7380"},
	} {
		if got := externalAddr(c.configured, c.bound, c.advertised); got != c.want {
			t.Errorf("configured as %s, bound to %s, peers at %s: announced as %s, want %s", c.configured, c.bound, c.advertised, got, c.want)
		}
	}
}

// A door that listens everywhere is never announced as on loopback, unless that
// is what --advertise says.
func TestAdvertisedFor(t *testing.T) {
	hostname := func() (string, error) { return "lab1", nil }
	for _, c := range []struct {
		bound, explicit, peers, want string
		isHostName                   bool
	}{
		{"0.0.0.0:12300", "", "127.0.0.1:7300", "lab1:12300", true},
		{"[::]:12300", "", "localhost:7300", "lab1:12300", true},
		{"0.0.0.0:12300", "127.0.0.1:7300", "127.0.0.1:7300", "127.0.0.1:12300", false},
		{"0.0.0.0:12300", "n1.local:7300", "n1.local:7300", "n1.local:12300", false},
		{"0.0.0.0:12300", "", "192.0.2.7:7300", "192.0.2.7:12300", false},
		{"127.0.0.1:12300", "", "127.0.0.1:7300", "127.0.0.1:12300", false},
	} {
		advertised, isHostName, err := advertisedFor(c.bound, c.explicit, c.peers, hostname)
		if got := externalAddr(c.bound, c.bound, advertised); got != c.want || isHostName != c.isHostName || err != nil {
			t.Errorf("bound to %s with --advertise %q, peers at %s: announced as %s, by name %t, %v; want %s, %t",
				c.bound, c.explicit, c.peers, got, isHostName, err, c.want, c.isHostName)
		}
	}
	refused := func() (string, error) { return "", errors.New("no name") }
	if got, _, err := advertisedFor("0.0.0.0:1", "", "127.0.0.1:2", refused); got != "127.0.0.1:2" || err == nil {
		t.Errorf("a host without a name: got %s, %v", got, err)
	}
}
