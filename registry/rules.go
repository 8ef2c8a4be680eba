package registry

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Rules of level 1: the numbers by which the log is judged, the same ones in
// every binary for ever. Whoever needs another value adds it with a new level
// and leaves these to the logs of before. What a binary may choose by itself is
// a limit (limits.go), which no command is judged by once it is written down.
const (
	// ImpliedLease is that of a sign-in that names none.
	ImpliedLease = 15 * time.Second
	// KeepEnded is how many ended sessions are remembered, and apart from them
	// how many removed ones: a thousand expired sessions must not make a removed
	// one welcome again.
	KeepEnded = 1000
)

// checkRules refuses a sign-in of which no row can be made.
func (c *SignIn) checkRules() error {
	switch {
	case !isName(c.Namespace):
		return wire.Invalid("namespace", "%q is no namespace", c.Namespace)
	case !isName(c.Name):
		return wire.Invalid("name", "%q is no name", c.Name)
	case c.Session == "":
		return wire.Invalid("session", "session is empty")
	case c.SecretHash == "":
		return wire.Invalid("secret_hash", "secret_hash is empty")
	case c.Lease < 0:
		return wire.Invalid("lease", "lease %s is below 0s", c.Lease)
	case c.Slots < 0:
		return wire.Invalid("slots", "slots %d is below 0", c.Slots)
	}
	return nil
}

// checkRules refuses a coordinator of which no row can be made.
func (c *Coordinator) checkRules() error {
	switch {
	case c.ID == "":
		return wire.Invalid("id", "id is empty")
	case c.ServerID == "":
		return wire.Invalid("server_id", "server_id is empty")
	case !isName(c.Namespace):
		return wire.Invalid("namespace", "%q is no namespace", c.Namespace)
	case c.Level < 0:
		return wire.Invalid("level", "level %d is below 1", c.Level)
	}
	return nil
}
