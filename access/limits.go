package access

import "github.com/folkmoot/folkmoot/wire"

// checkNamespace refuses a grant for a namespace that no component of this binary
// can have.
func checkNamespace(grant, namespace string) error {
	if len(namespace) > wire.MaxName {
		return invalidGrant("grant %.80q: a namespace of %d bytes, at most %d are allowed", grant, len(namespace), wire.MaxName)
	}
	for i := range len(namespace) {
		if namespace[i] < 0x20 || namespace[i] > 0x7E {
			return invalidGrant("grant %.80q has the byte 0x%02x in its namespace; printable ASCII is allowed", grant, namespace[i])
		}
	}
	if namespace != "" && (namespace[0] == ' ' || namespace[len(namespace)-1] == ' ') {
		return invalidGrant("grant %.80q: the namespace begins or ends with a blank", grant)
	}
	return nil
}
