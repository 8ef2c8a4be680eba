package access

import (
	"fmt"
	"iter"
	"time"

	"github.com/tidwall/btree"

	"github.com/folkmoot/folkmoot/wire"
)

// Table is the tokens of the state as of one index. Its zero value is empty. A
// table that was published is frozen: any number of goroutines may read it, and
// what Next returned goes its own way. Rows sit behind pointers that are never
// written through again.
type Table struct {
	index   uint64
	events  []Event
	writes  int
	rows    *rows
	owns    bool // rows is of this copy alone
	changed uint64
}

// rows is all there is, copied as one before its first change: tokens change
// seldom.
type rows struct {
	tokens     btree.Map[string, *Token] // by id
	hashes     btree.Map[string, *Token]
	joinTokens btree.Map[string, *JoinToken] // by hash
	// expiring are what has an end, in its order.
	expiring btree.Map[string, expiring]
	gone     tombstones
}

// expiring is one of the two.
type expiring struct {
	token     *Token
	joinToken *JoinToken
}

var noRows rows // read only

// Next returns a copy for the entry at index, without events. It costs the same
// however many rows there are. Only the applying goroutine may call it, or any
// method that changes the copy.
func (t *Table) Next(index uint64) *Table {
	return &Table{index: index, rows: t.rows, changed: t.changed}
}

// Changed returns at which index the table changed last, since it was made or
// loaded: 0 is not since then. It is no part of the state.
func (t *Table) Changed() uint64 { return t.changed }

// Writes counts the changes of this copy, so that a caller can see whether a
// refused command left it as it was.
func (t *Table) Writes() int { return t.writes }

func (t *Table) view() *rows {
	if t.rows == nil {
		return &noRows
	}
	return t.rows
}

// writable returns the rows of this copy alone.
func (t *Table) writable() *rows {
	t.writes++
	t.changed = t.index
	if !t.owns {
		r := t.rows
		if r == nil {
			r = new(rows)
		}
		t.rows = &rows{
			tokens: *r.tokens.Copy(), hashes: *r.hashes.Copy(), joinTokens: *r.joinTokens.Copy(), expiring: *r.expiring.Copy(), gone: r.gone.copy(),
		}
		t.owns = true
	}
	return t.rows
}

// place is where something that ends is among the expiring.
func place(expires time.Time, kind, key string) string {
	return fmt.Sprintf("%020d.%09d%s%s", expires.Unix()+1<<62, expires.Nanosecond(), kind, key)
}

func (k *Token) place() string     { return place(k.Expires, "t", k.ID) }
func (v *JoinToken) place() string { return place(v.kept(), "j", v.Hash) }

// KeepJoinToken is for how long a join token is remembered when its time is over: what would
// make it a second time, a repeat by the same Idempotency-Key in the hour in which it was
// asked for, finds it.
const KeepJoinToken = 3 * time.Hour

func (v *JoinToken) kept() time.Time { return v.Expires.Add(KeepJoinToken) }

func (r *rows) putToken(row *Token) {
	r.tokens.Set(row.ID, row)
	r.hashes.Set(row.Hash, row)
	if !row.Expires.IsZero() {
		r.expiring.Set(row.place(), expiring{token: row})
	}
}

func (r *rows) removeToken(row *Token) {
	r.tokens.Delete(row.ID)
	r.hashes.Delete(row.Hash)
	r.expiring.Delete(row.place())
}

func (r *rows) putJoinToken(row *JoinToken) {
	r.joinTokens.Set(row.Hash, row)
	r.expiring.Set(row.place(), expiring{joinToken: row})
}

func (r *rows) removeJoinToken(row *JoinToken) {
	r.joinTokens.Delete(row.Hash)
	r.expiring.Delete(row.place())
}

// Len is the number of tokens, and LenJoinTokens that of join tokens, used ones too.
func (t *Table) Len() int           { return t.view().tokens.Len() }
func (t *Table) LenJoinTokens() int { return t.view().joinTokens.Len() }

// Required reports whether tokens are asked for: there is one, or there was one, so
// that nobody comes in because the last one has expired.
func (t *Table) Required() bool { return t.Len() > 0 || t.view().gone.order.Len() > 0 }

// Token returns the token of an id.
func (t *Table) Token(id string) (Token, bool) { return deref(t.view().tokens.Get(id)) }

// TokenByHash returns the token of the hex SHA-256 of a secret.
func (t *Table) TokenByHash(hash string) (Token, bool) { return deref(t.view().hashes.Get(hash)) }

// Gone returns what became of a token, if it is among the last KeepGone ones.
func (t *Table) Gone(id string) (Gone, bool) { return t.view().gone.get(id) }

// GoneByHash is Gone for the hex SHA-256 of a secret.
func (t *Table) GoneByHash(hash string) (Gone, bool) {
	at, ok := t.view().gone.byHash.Get(hash)
	if !ok {
		return Gone{}, false
	}
	return deref(t.view().gone.order.Get(at))
}

// JoinToken returns the join token of the hex SHA-256 of a secret.
func (t *Table) JoinToken(hash string) (JoinToken, bool) {
	return deref(t.view().joinTokens.Get(hash))
}

// Tokens yields all tokens by id.
func (t *Table) Tokens() iter.Seq[Token] { return t.TokensAfter("") }

// TokensAfter yields the tokens whose id is beyond id.
func (t *Table) TokensAfter(id string) iter.Seq[Token] {
	return func(yield func(Token) bool) {
		t.view().tokens.Ascend(id, func(key string, row *Token) bool { return key == id || yield(*row) })
	}
}

// JoinTokens yields all join tokens by hash.
func (t *Table) JoinTokens() iter.Seq[JoinToken] {
	return func(yield func(JoinToken) bool) {
		t.view().joinTokens.Scan(func(_ string, row *JoinToken) bool { return yield(*row) })
	}
}

// Expired returns the command that ends the tokens that have expired at a time, and the
// join tokens that need not be remembered any more, at most limit of them; false is
// nothing has.
func (t *Table) Expired(now time.Time, limit int) (c Expire, any bool) {
	left := limit
	t.view().expiring.Scan(func(_ string, e expiring) bool {
		switch {
		case left == 0:
			return false
		case e.token != nil && !e.token.Expires.After(now):
			c.Tokens = append(c.Tokens, e.token.ID)
		case e.joinToken != nil && !e.joinToken.kept().After(now):
			c.JoinTokens = append(c.JoinTokens, e.joinToken.Hash)
		default:
			return false
		}
		left--
		return true
	})
	return c, left < limit
}

// Topic is the topic of the events of this package: they are for coordinators, not
// for who watches one.
const Topic = "token"

// Kinds of the events.
const (
	EventCreated = "created"
	EventRevoked = "revoked"
	EventExpired = "expired"
)

// Event is an event with the row that it is about, without the secret's hash.
// Rows are read only. Key is the token's id.
type Event struct {
	wire.Event // without Data
	Row
}

// Row is what an event of this package is about: one of the pointers.
type Row struct {
	Token *Token // of EventCreated
	Gone  *Gone
}

// TakeEvents returns the events and begins anew. What it returned is good until
// the next command.
func (t *Table) TakeEvents() []Event {
	events := t.events
	t.events = t.events[:0]
	return events
}

// emit appends an event; what it is about is set in place.
func (t *Table) emit(kind, key string, at time.Time) *Row {
	t.writes++
	t.events = append(t.events, Event{Event: wire.Event{Index: t.index, Topic: Topic, Kind: kind, Key: key, At: at}})
	return &t.events[len(t.events)-1].Row
}

func deref[R any](r *R, ok bool) (R, bool) {
	if !ok {
		var none R
		return none, false
	}
	return *r, true
}
