package node

import "testing"

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
