package client

import "testing"

// A host alone means the port of REST; a URL says itself what it means.
func TestAddressesWithoutAPort(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"lab1": "http://lab1:7380", "lab1:80": "http://lab1:80", "10.0.0.1": "http://10.0.0.1:7380", "::1": "http://[::1]:7380",
		"[::1]": "http://[::1]:7380", "[::1]:99": "http://[::1]:99", "http://lab1": "http://lab1", "https://lab1:1": "https://lab1:1",
		"a:b:c": "", "": "", "lab1/x": "",
	} {
		got, err := baseURL(addr, false)
		if (err != nil) != (want == "") || err == nil && got != want {
			t.Errorf("%q: got %q, %v, want %q", addr, got, err, want)
		}
	}
}
