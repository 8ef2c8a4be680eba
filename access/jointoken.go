package access

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// JoinToken is a row of the state: whoever has its secret may have one certificate
// signed, for the coordinator of that id.
type JoinToken struct {
	Hash      string    `json:"hash"` // hex SHA-256 of the secret
	ID        string    `json:"id"`   // of the coordinator
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by,omitempty"`
	Expires   time.Time `json:"expires"`
	Use       string    `json:"use,omitempty"` // by what it was used up; "": not yet
	Index     uint64    `json:"index"`         // of its last change
}

// CreateJoinToken puts a join token into the state.
type CreateJoinToken struct {
	Hash      string    `json:"hash"`
	ID        string    `json:"id"`
	CreatedBy string    `json:"created_by,omitempty"`
	Expires   time.Time `json:"expires"`
}

// CreateJoinToken returns the row; repeated, that of before. Errors: invalid, conflict (the
// secret is that of another join token).
func (t *Table) CreateJoinToken(c CreateJoinToken, at time.Time) (JoinToken, error) {
	if err := c.checkRules(); err != nil {
		return JoinToken{}, err
	}
	if old, ok := t.view().joinTokens.Get(c.Hash); ok {
		if old.ID == c.ID {
			return *old, nil // applied before
		}
		return JoinToken{}, wire.Refuse(wire.CodeConflict, "that join token is for coordinator %s", old.ID)
	}
	row := &JoinToken{Hash: c.Hash, ID: c.ID, Created: at, CreatedBy: c.CreatedBy, Expires: utc(c.Expires), Index: t.index}
	t.writable().putJoinToken(row)
	return *row, nil
}

// UseJoinToken uses a join token up. The proposer mints Use, so that a repeat of the
// same use is told the same, and another use is refused. Whether it has expired
// is judged by the coordinator that is asked, before it proposes.
type UseJoinToken struct {
	Hash string `json:"hash"`
	ID   string `json:"id"` // of the coordinator that a certificate is asked for
	Use  string `json:"use"`
}

// UseJoinToken returns the row. Errors: invalid; unauthorized (not known, used up, or
// for another coordinator, in the same words).
func (t *Table) UseJoinToken(c UseJoinToken, _ time.Time) (JoinToken, error) {
	if c.Use == "" {
		return JoinToken{}, wire.Invalid("use", "a use has no id")
	}
	old, ok := t.view().joinTokens.Get(c.Hash)
	switch {
	case !ok || old.ID != c.ID || old.Use != "" && old.Use != c.Use:
		return JoinToken{}, wire.Refuse(wire.CodeUnauthorized, "the join token is not known here, was used, or is not for %.80q", c.ID)
	case old.Use == c.Use:
		return *old, nil // applied before
	}
	row := *old
	row.Use, row.Index = c.Use, t.index
	t.writable().putJoinToken(&row)
	return row, nil
}
