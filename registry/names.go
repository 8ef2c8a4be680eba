package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// isName reports whether s can be one half of a full name, for ever. What else
// may be a name is a limit: CheckName.
func isName(s string) bool {
	return s != "" && strings.IndexByte(s, '.') < 0 && !strings.EqualFold(s, wire.Coordinator)
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
