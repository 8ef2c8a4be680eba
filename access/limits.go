package access

import (
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Limits of what is proposed. They are this binary's own and may change with the
// next one: whoever proposes a command asks its Validate first, and what is in
// the log is carried out whatever they are.
const (
	MaxTokens     = 10_000 // in the state; CheckRoom
	MaxJoinTokens = 1_000  // join tokens in the state, used ones too; CheckJoinTokenRoom
	MaxGrants     = 64     // of one token
	MaxTokenName  = 255    // bytes
	MaxTTL        = 10 * 365 * 24 * time.Hour
	MaxOver       = 1_000 // tokens that one command ends, or touches
)

// CheckRoom refuses a further token where there are as many as may be. The error
// is a *wire.Error of code busy.
func (t *Table) CheckRoom() error {
	if t.Len() < MaxTokens {
		return nil
	}
	return wire.Refuse(wire.CodeBusy, "there are %d tokens already, and no more than %d may be: revoke those that nobody uses", t.Len(), MaxTokens)
}

// CheckJoinTokenRoom refuses a further join token where there are as many as may be.
// The error is a *wire.Error of code busy.
func (t *Table) CheckJoinTokenRoom() error {
	if t.LenJoinTokens() < MaxJoinTokens {
		return nil
	}
	return wire.Refuse(wire.CodeBusy, "there are %d join tokens already, and no more than %d may be: they go %v after they expire", t.LenJoinTokens(), MaxJoinTokens, KeepJoinToken)
}

// Validate says which field of a token no door of this binary lets through. The
// error is a *wire.Error of code invalid.
func (c Create) Validate() error {
	if !strings.HasPrefix(c.ID, IDPrefix) {
		return wire.Invalid("id", "the id of a token begins with %s", IDPrefix)
	}
	if err := checkText("id", c.ID); err != nil {
		return err
	}
	if err := checkHash(c.Hash); err != nil {
		return err
	}
	if len(c.Name) > MaxTokenName {
		return wire.Invalid("name", "name has %d bytes, at most %d are allowed", len(c.Name), MaxTokenName)
	}
	if err := checkText("name", c.Name); err != nil {
		return err
	}
	if len(c.Grants) > MaxGrants {
		return wire.Invalid("grants", "%d grants, at most %d are allowed", len(c.Grants), MaxGrants)
	}
	if _, err := ParseGrants(c.Grants.Strings()); err != nil {
		return err
	}
	return checkTime("expires", c.Expires)
}

// Validate says which field of a join token no door of this binary lets through.
// The error is a *wire.Error of code invalid.
func (c CreateJoinToken) Validate() error {
	if err := checkHash(c.Hash); err != nil {
		return err
	}
	if c.ID == "" {
		return wire.Invalid("id", "id is empty: a join token is for the coordinator of one id")
	}
	if strings.ContainsAny(c.ID, "/ ") {
		return wire.Invalid("id", "id %.80q has a '/' or a blank in it", c.ID)
	}
	if err := checkText("id", c.ID); err != nil {
		return err
	}
	return checkTime("expires", c.Expires)
}

// checkText refuses text that is no name.
func checkText(field, s string) error {
	if len(s) > wire.MaxName {
		return wire.Invalid(field, "%s has %d bytes, at most %d are allowed", field, len(s), wire.MaxName)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return wire.Invalid(field, "%s has the byte 0x%02x at place %d; printable ASCII is allowed", field, s[i], i)
		}
	}
	return nil
}

// checkHash refuses what is no SHA-256 in hex, such as a secret.
func checkHash(s string) error {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return wire.Invalid("hash", "hash is no SHA-256 in hex")
	}
	return nil
}

// checkTime refuses a time that cannot be written down.
func checkTime(field string, t time.Time) error {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return wire.Invalid(field, "%s is in year %d", field, y)
	}
	return nil
}

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
