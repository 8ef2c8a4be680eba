package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// CheckName tells whether s can be the name of a namespace or a component: 1
// to 255 bytes of printable ASCII (0x20..0x7E) without '.', no blank at either
// end, and not COORDINATOR in any case. The error is a *wire.Error of code
// invalid that names field.
func CheckName(field, s string) error {
	if err := checkText(field, s, wire.MaxName); err != nil {
		return err
	}
	switch {
	case s == "":
		return wire.Invalid(field, "%s is empty", field)
	case strings.IndexByte(s, '.') >= 0:
		return wire.Invalid(field, "%s %q has a '.' in it, which is what parts a namespace from a name", field, s)
	case s[0] == ' ' || s[len(s)-1] == ' ':
		return wire.Invalid(field, "%s %q begins or ends with a blank", field, s)
	case strings.EqualFold(s, wire.Coordinator):
		return wire.Invalid(field, "%s %q is reserved for the coordinators", field, s)
	}
	return nil
}

// checkText refuses text that is longer than limit bytes or not printable ASCII.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return wire.Invalid(field, "%s has %d bytes, at most %d are allowed", field, len(s), limit)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return wire.Invalid(field, "%s has the byte 0x%02x at place %d; printable ASCII is allowed", field, s[i], i)
		}
	}
	return nil
}

// checkID is checkText for ids, which are never empty.
func checkID(field, s string) error {
	if s == "" {
		return wire.Invalid(field, "%s is empty", field)
	}
	return checkText(field, s, wire.MaxName)
}

// FullName joins a namespace and a name.
func FullName(namespace, name string) string { return namespace + "." + name }

// Split parts a full name at its one '.'. Neither half is checked beyond being
// there, so that "n1.COORDINATOR" can be split too.
func Split(full string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(full, ".")
	if !ok || namespace == "" || name == "" || strings.IndexByte(name, '.') >= 0 {
		return "", "", wire.Invalid("full_name", "%q is not a full name, which is written namespace.name", full)
	}
	return namespace, name, nil
}

// HashSecret is what the log keeps of a session's secret: the hex SHA-256 of
// it. Secrets are 32 random bytes, so neither salt nor stretching is needed.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
