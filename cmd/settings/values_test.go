package settings

import "testing"

// A size is a number of bytes, with or without a unit.
func TestSizes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"1": 1, "65536": 64 << 10, "64KiB": 64 << 10, "16 MiB": 16 << 20, "2GiB": 2 << 30} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "16MB", "MiB", "1.5MiB", "9999999999GiB", "9223372036854775808"} {
		if n, err := ParseBytes(text); err == nil {
			t.Errorf("%q is read as %d", text, n)
		}
	}
}
