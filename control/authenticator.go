package control

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// HashToken returns the form in which a bearer token is kept: its SHA-256 in
// hex.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Authenticator knows the bearer tokens that open the doors of one coordinator:
// those of its token file, that of its own worker, and those of the state. The
// zero value asks for none.
type Authenticator struct {
	local *localTokens      // shared by copies; nil: none
	view  func() *fsm.State // nil: no state
	now   func() time.Time
	own   string // namespace of this coordinator
	holds *holds
	uses  *uses // nil where there is no state
}

// localTokens are the tokens that only this coordinator knows, by their hashes.
type localTokens struct {
	// mu makes changes one after the other, and guards all but set.
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	file    [][sha256.Size]byte
	worker  [][sha256.Size]byte // of the own worker, at most one

	set atomic.Pointer[localSet]
}

// localSet is immutable.
type localSet struct {
	asked  bool // there is a token file
	byHash map[[sha256.Size]byte]string
	names  map[string]string // by id
}

// What tokens are called that are not in the state.
const (
	fileTokenName   = "token file"
	workerTokenName = "own worker"
)

func newLocalTokens() *localTokens {
	l := &localTokens{changed: make(chan struct{})}
	l.set.Store(new(localSet))
	return l
}

// change makes a change and the set that comes of it.
func (l *localTokens) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	next := &localSet{asked: len(l.file) > 0, byHash: map[[sha256.Size]byte]string{}, names: map[string]string{}}
	for name, sums := range map[string][][sha256.Size]byte{fileTokenName: l.file, workerTokenName: l.worker} {
		for _, sum := range sums {
			id := localTokenID(sum)
			next.byHash[sum], next.names[id] = id, name
		}
	}
	l.set.Store(next)
	close(l.changed)
	l.changed = make(chan struct{})
}

// NewAuthenticator returns an Authenticator that knows tokens by their hashes (see
// HashToken), each of which may do everything here. Without any, none is asked
// for until there is one in the state. Errors name the hash that is none.
func NewAuthenticator(tokenHashes []string) (*Authenticator, error) {
	a := &Authenticator{local: newLocalTokens()}
	return a, a.SetFile(tokenHashes)
}

// of returns the Authenticator of one coordinator, with the tokens of a.
func (a *Authenticator) of(machine *fsm.Machine, now func() time.Time, namespace string) *Authenticator {
	local := a.local
	if local == nil {
		local = newLocalTokens()
	}
	return &Authenticator{local: local, view: machine.View, now: now, own: namespace, holds: new(holds), uses: new(uses)}
}

// SetFile replaces the tokens of the token file: what is not among them any more
// opens nothing from now on. Errors name the hash that is none; nothing changes
// then.
func (a *Authenticator) SetFile(tokenHashes []string) error {
	sums, err := parseHashes(tokenHashes)
	if err == nil {
		a.local.change(func() { a.local.file = sums })
	}
	return err
}

// SetWorker makes the token of this coordinator's own worker known, which may do
// everything. It does not make the doors ask for tokens. Errors: it is no hash.
func (a *Authenticator) SetWorker(tokenHash string) error {
	sums, err := parseHashes([]string{tokenHash})
	if err == nil {
		a.local.change(func() { a.local.worker = sums })
	}
	return err
}

func parseHashes(tokenHashes []string) ([][sha256.Size]byte, error) {
	sums := make([][sha256.Size]byte, len(tokenHashes))
	for i, h := range tokenHashes {
		raw, err := hex.DecodeString(h)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("token hash %d is not a SHA-256 in hex", i+1)
		}
		sums[i] = [sha256.Size]byte(raw)
	}
	return sums, nil
}

// fileToken begins the id of a token that is not in the state: the first hex
// digits of its hash follow.
const fileToken = "file:"

func localTokenID(sum [sha256.Size]byte) string { return fileToken + hex.EncodeToString(sum[:6]) }

// TokensChanged is closed at the next change of the tokens that only this
// coordinator knows.
func (a *Authenticator) TokensChanged() <-chan struct{} {
	a.local.mu.Lock()
	defer a.local.mu.Unlock()
	return a.local.changed
}

// Authenticate returns the principal that presented from: the one place where a
// token is compared. A session's secret is checked by the use case that it is
// for. Errors: unauthorized (a token is asked for, and this one is not known, or
// has expired).
func (a *Authenticator) Authenticate(from Credentials) (Principal, error) {
	token := from.Token
	from.Token = ""
	who := Principal{from: from, admitted: true}
	if token != "" && !from.Door.withoutTokens() {
		id, name, err := a.identify(token)
		if err == nil && id != "" {
			who.token, who.tokenName, who.seed = id, name, seedOf(token)
			return who, nil
		}
		if err != nil && a.asks() {
			return Principal{}, err
		}
	}
	if _, err := a.permissionOf(who); err != nil {
		return Principal{}, wire.Refuse(wire.CodeUnauthorized, "the token is not known here")
	}
	return who, nil
}

// identify returns the id and the name of a token, "" if it is not known. It looks it
// up by its hash: what the time of that tells is about hashes, which open nothing, and
// it does not depend on how many tokens there are. Errors: unauthorized (it was
// revoked, has expired, or is a join token).
func (a *Authenticator) identify(token string) (id, name string, err error) {
	sum := sha256.Sum256([]byte(token))
	if a.local != nil {
		set := a.local.set.Load()
		if id, ok := set.byHash[sum]; ok {
			return id, set.names[id], nil
		}
	}
	hash := hex.EncodeToString(sum[:])
	row, ok := a.tokens().TokenByHash(hash)
	if !ok {
		if gone, was := a.tokens().GoneByHash(hash); was {
			return "", "", noToken(gone.ID, gone.Text())
		}
		if strings.HasPrefix(token, wire.JoinTokenPrefix) {
			return "", "", wire.Refuse(wire.CodeUnauthorized, "a join token opens the signing of one certificate (raftctl ca request), and nothing else")
		}
		return "", "", nil
	}
	return row.ID, row.Name, a.inTime(row)
}

// tokenName is what a token is called; "" if it has no name, or is not valid any more.
func (a *Authenticator) tokenName(id string) string {
	if a.local != nil {
		if name, ok := a.local.set.Load().names[id]; ok {
			return name
		}
	}
	row, _ := a.tokens().Token(id)
	return row.Name
}

// inTime refuses a token that has expired.
func (a *Authenticator) inTime(row access.Token) error {
	if !row.Expires.IsZero() && !a.now().Before(row.Expires) {
		return noToken(row.ID, fmt.Sprintf("token %s expired at %s", row.ID, row.Expires.UTC().Format(time.RFC3339)))
	}
	return nil
}

// noToken refuses a token that was one.
func noToken(id, why string) error {
	e := wire.Refuse(wire.CodeUnauthorized, "%s", why)
	e.Token = id
	return e
}

// tokens are those of the state of now.
func (a *Authenticator) tokens() *access.Table {
	if a.view == nil {
		return &noTokens
	}
	return a.view().Access
}

// noTokens are those of an Authenticator without a state. It is never written.
var noTokens access.Table

func isStateToken(id string) bool { return strings.HasPrefix(id, access.IDPrefix) }

// asks reports whether tokens are asked for: there is a file of them here, or
// there are tokens in the state.
func (a *Authenticator) asks() bool { return a.fileAsks() || a.tokens().Required() }

func (a *Authenticator) fileAsks() bool { return a.local != nil && a.local.set.Load().asked }

// permissionOf returns what a principal may do by the view of now. Errors:
// unauthorized.
func (a *Authenticator) permissionOf(who Principal) (permission, error) {
	switch {
	case !a.asks():
		return permission{all: true}, nil
	case !who.admitted:
		return permission{}, wire.Refuse(wire.CodeUnauthorized, "this needs a token that is known here")
	case who.from.Door.withoutTokens():
		return permission{grants: fixedGrants(a.ownOf(who))}, nil
	case who.token == "" && who.session && a.fileAsks():
		// It signed in while sessions did not record their token, by one of the file.
		return permission{all: true}, nil
	case who.token == "":
		return permission{}, wire.Refuse(wire.CodeUnauthorized, "a token is asked for by now: present one")
	}
	if _, local := a.local.set.Load().names[who.token]; local {
		return permission{all: true}, nil
	}
	row, ok := a.tokens().Token(who.token)
	if !ok {
		return permission{}, wire.Refuse(wire.CodeUnauthorized, "token %s is not valid any more", who.token)
	}
	if err := a.inTime(row); err != nil {
		return permission{}, err
	}
	a.uses.note(row.ID, a.now())
	return permission{grants: row.Grants}, nil
}

// ownOf is the namespace in which a caller without a token may sign in: that of the
// coordinator whose door it came by.
func (a *Authenticator) ownOf(who Principal) string {
	if who.session {
		return ComponentThing(who.from.Name).Namespace
	}
	return a.own
}

// fixedGrants are those of who comes in by a door without tokens while tokens are
// asked for.
func fixedGrants(own string) access.Grants {
	return access.Grants{
		{Right: access.ComponentsRead, Namespace: access.Everywhere},
		{Right: access.ComponentsWrite, Namespace: own},
		{Right: access.MessagesSend, Namespace: access.Everywhere},
		{Right: access.ServicesRead, Namespace: access.Everywhere},
		{Right: access.ServicesWrite, Namespace: own},
	}
}

// AsSession is the principal of a session that asks over its mailbox or its
// connection, where no secret is needed. It has the grants of the session's token.
func (a *Authenticator) AsSession(s registry.Session) Principal {
	return Principal{from: Credentials{Door: Door(s.Kind), Name: s.FullName}, token: s.Token, session: true, admitted: true}
}

// SessionToken is the token that a session which the principal signs in belongs to:
// "" if none is asked for, and while the cluster's level has no place for it.
func (a *Authenticator) SessionToken(who Principal) string {
	if a.view().Level < access.Level || !a.asks() {
		return ""
	}
	return who.token
}

// SameToken reports whether a session belongs to the principal's token.
func (a *Authenticator) SameToken(who Principal, s registry.Session) bool {
	return s.Token == a.SessionToken(who)
}

// Lost says why a session must end: its token is not valid any more, or a token is
// asked for and it has none; "" if neither. Sessions of tokens in the state end
// with them, by the log.
func (a *Authenticator) Lost(s registry.Session) string {
	if Door(s.Kind).withoutTokens() || isStateToken(s.Token) {
		return ""
	}
	switch _, err := a.permissionOf(a.AsSession(s)); {
	case err == nil:
		return ""
	case s.Token == "":
		return "a token is asked for by now"
	}
	return "token revoked"
}

// TokenState tells by comparison whether what tokens there are has changed.
type TokenState struct {
	local *localSet
	state uint64 // index of the last change
}

// TokenState returns the one of now.
func (a *Authenticator) TokenState() TokenState {
	now := TokenState{state: a.tokens().Changed()}
	if a.local != nil {
		now.local = a.local.set.Load()
	}
	return now
}

// withoutTokens reports whether a door has no place for a token.
func (d Door) withoutTokens() bool { return d == DoorLECO }
