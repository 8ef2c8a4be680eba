package access

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Invitation is a join token: whoever has its secret may have one certificate
// signed, for the coordinator of that id.
type Invitation struct {
	Hash      string    `json:"hash"` // hex SHA-256 of the secret
	ID        string    `json:"id"`   // of the coordinator
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by,omitempty"`
	Expires   time.Time `json:"expires"`
	Use       string    `json:"use,omitempty"` // by what it was used up; "": not yet
	Index     uint64    `json:"index"`         // of its last change
}

// Invite puts a join token into the state.
type Invite struct {
	Hash      string    `json:"hash"`
	ID        string    `json:"id"`
	CreatedBy string    `json:"created_by,omitempty"`
	Expires   time.Time `json:"expires"`
}

// Invite returns the row; repeated, that of before. Errors: invalid, conflict (the
// secret is that of another join token).
func (t *Table) Invite(c Invite, at time.Time) (Invitation, error) {
	if err := c.checkRules(); err != nil {
		return Invitation{}, err
	}
	if old, ok := t.view().invites.Get(c.Hash); ok {
		if old.ID == c.ID {
			return *old, nil // applied before
		}
		return Invitation{}, wire.Refuse(wire.CodeConflict, "that join token is for coordinator %s", old.ID)
	}
	row := &Invitation{Hash: c.Hash, ID: c.ID, Created: at, CreatedBy: c.CreatedBy, Expires: utc(c.Expires), Index: t.index}
	t.writable().putInvite(row)
	return *row, nil
}

// UseInvite uses a join token up. The proposer mints Use, so that a repeat of the
// same use is told the same, and another use is refused. Whether it has expired
// is judged by the coordinator that is asked, before it proposes.
type UseInvite struct {
	Hash string `json:"hash"`
	ID   string `json:"id"` // of the coordinator that a certificate is asked for
	Use  string `json:"use"`
}

// UseInvite returns the row. Errors: invalid; unauthorized (not known, used up, or
// for another coordinator, in the same words).
func (t *Table) UseInvite(c UseInvite, _ time.Time) (Invitation, error) {
	if c.Use == "" {
		return Invitation{}, wire.Invalid("use", "a use has no id")
	}
	old, ok := t.view().invites.Get(c.Hash)
	switch {
	case !ok || old.ID != c.ID || old.Use != "" && old.Use != c.Use:
		return Invitation{}, wire.Refuse(wire.CodeUnauthorized, "the join token is not known here, was used, or is not for %.80q", c.ID)
	case old.Use == c.Use:
		return *old, nil // applied before
	}
	row := *old
	row.Use, row.Index = c.Use, t.index
	t.writable().putInvite(&row)
	return row, nil
}
