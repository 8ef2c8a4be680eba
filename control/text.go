package control

import (
	"strings"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// PlainText reports whether s is text without control characters, at most size bytes.
func PlainText(s string, size int) bool {
	if len(s) > size || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// CheckKey refuses an idempotency key that others could guess or that would
// not travel in a header.
func CheckKey(key string) error {
	if key == "" {
		return nil
	}
	if len(key) < 16 || len(key) > 128 {
		return wire.Invalid("Idempotency-Key", "an idempotency key is 16 to 128 bytes, not %d", len(key))
	}
	for _, b := range []byte(key) {
		if b < 0x21 || b > 0x7e {
			return wire.Invalid("Idempotency-Key", "an idempotency key is printable ASCII without blanks")
		}
	}
	return nil
}
