package access

import (
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Kinds of the commands, as the log knows them. Kinds are for ever.
const (
	KindCreate          = "access.create"
	KindRevoke          = "access.revoke"
	KindExpire          = "access.expire"
	KindTouch           = "access.touch"
	KindCreateJoinToken = "access.create_join_token"
	KindUseJoinToken    = "access.use_join_token"
)

// IDPrefix begins the id of every token in the state.
const IDPrefix = "t_"

// Token is one token of the state. Its secret is known to its holder only.
// Grants are shared with the table: read only.
type Token struct {
	ID        string    `json:"id"`
	Hash      string    `json:"hash"` // hex SHA-256 of the secret; in no event
	Name      string    `json:"name,omitempty"`
	Grants    Grants    `json:"grants"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`   // zero: never
	LastUsed  time.Time `json:"last_used,omitzero"` // to the hour; zero: not yet
	Index     uint64    `json:"index"`              // of its creation
}

// Gone is what is remembered of a token that was revoked or has expired.
type Gone struct {
	ID    string    `json:"id"`
	Hash  string    `json:"hash"`
	Kind  string    `json:"kind"` // revoked, expired
	At    time.Time `json:"at"`
	Index uint64    `json:"index"`
}

// Text says what became of the token.
func (g Gone) Text() string {
	if g.Kind == EventExpired {
		return "token " + g.ID + " has expired"
	}
	return "token " + g.ID + " was revoked"
}

// Create puts a token into the state. The proposer mints ID and Hash; applied
// twice, the command leaves one token.
type Create struct {
	ID        string    `json:"id"`
	Hash      string    `json:"hash"`
	Name      string    `json:"name,omitempty"`
	Grants    Grants    `json:"grants"`
	CreatedBy string    `json:"created_by,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
}

// Create returns the token's row. Repeated it returns the one of before, and a
// token that is gone does not come back. Errors: invalid; conflict (the id or the
// secret is that of another token, or of one that is gone).
func (t *Table) Create(c Create, at time.Time) (Token, error) {
	if err := c.checkRules(); err != nil {
		return Token{}, err
	}
	r := t.view()
	if old, ok := r.tokens.Get(c.ID); ok {
		if old.Hash == c.Hash && old.Name == c.Name && slices.Equal(old.Grants, c.Grants) {
			return *old, nil // applied before
		}
		return Token{}, wire.Refuse(wire.CodeConflict, "token %s is there already, with other terms", c.ID)
	}
	if gone, ok := r.gone.get(c.ID); ok {
		return Token{}, wire.Refuse(wire.CodeConflict, "%s and does not come back: create another", gone.Text())
	}
	if other, ok := r.hashes.Get(c.Hash); ok {
		return Token{}, wire.Refuse(wire.CodeConflict, "that secret is the one of token %s", other.ID)
	}
	row := &Token{
		ID: c.ID, Hash: c.Hash, Name: c.Name, Grants: c.Grants, Created: at, CreatedBy: c.CreatedBy, Expires: utc(c.Expires), Index: t.index,
	}
	t.writable().putToken(row)
	t.emit(EventCreated, row.ID, at).Token = row.public()
	return *row, nil
}

// Revoke ends a token at once, and its sessions with it.
type Revoke struct {
	ID string `json:"id"`
}

// Revoke of a token that is gone already is done; of one nobody remembers it is
// not_found.
func (t *Table) Revoke(c Revoke, at time.Time) (Gone, error) {
	if row, ok := t.view().tokens.Get(c.ID); ok {
		return t.end(row, EventRevoked, at), nil
	}
	if gone, ok := t.view().gone.get(c.ID); ok {
		return gone, nil // applied before
	}
	return Gone{}, wire.Refuse(wire.CodeNotFound, "there is no token %s", c.ID)
}

// Expire ends tokens and join tokens whose time is over by the leader's clock.
type Expire struct {
	Tokens     []string `json:"tokens,omitempty"`
	JoinTokens []string `json:"join_tokens,omitempty"` // hashes
}

// Expire returns the ids of the tokens that it ended, in the order asked. What is
// gone already is skipped, and so is a token that never expires.
func (t *Table) Expire(c Expire, at time.Time) ([]string, error) {
	ended := []string{}
	for _, id := range c.Tokens {
		if row, ok := t.view().tokens.Get(id); ok && !row.Expires.IsZero() {
			t.end(row, EventExpired, at)
			ended = append(ended, id)
		}
	}
	for _, hash := range c.JoinTokens {
		if row, ok := t.view().joinTokens.Get(hash); ok {
			t.writable().removeJoinToken(row)
		}
	}
	return ended, nil
}

// Touch says when tokens were used last, as one coordinator saw it.
type Touch struct {
	Used []Use `json:"used"`
}

// Use is one of them.
type Use struct {
	Token string    `json:"token"`
	At    time.Time `json:"at"`
}

// Touch keeps the latest time of each token, to the hour. Tokens that are gone
// are skipped.
func (t *Table) Touch(c Touch, _ time.Time) (struct{}, error) {
	for _, u := range c.Used {
		row, ok := t.view().tokens.Get(u.Token)
		hour := utc(u.At).Truncate(time.Hour)
		if !ok || !hour.After(row.LastUsed) {
			continue
		}
		touched := *row
		touched.LastUsed = hour
		t.writable().putToken(&touched)
	}
	return struct{}{}, nil
}

// end removes a token, remembers it and emits the event.
func (t *Table) end(row *Token, kind string, at time.Time) Gone {
	gone := &Gone{ID: row.ID, Hash: row.Hash, Kind: kind, At: at, Index: t.index}
	r := t.writable()
	r.removeToken(row)
	r.gone.put(gone)
	public := *gone
	public.Hash = ""
	t.emit(kind, row.ID, at).Gone = &public
	return *gone
}

// public returns the row without its secret's hash, for events leave the table.
func (k Token) public() *Token {
	k.Hash = ""
	return &k
}

// utc makes equal times equal bytes.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Round(0).UTC()
}
