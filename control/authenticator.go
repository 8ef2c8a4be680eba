package control

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
}

// localTokens are the tokens that only this coordinator knows.
type localTokens struct {
	// mu makes changes one after the other; set and changed are replaced under it.
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	worker  string        // id of the own worker's; "": none
	set     atomic.Pointer[localSet]
}

// localSet is immutable.
type localSet struct {
	asked  bool // there is a token file
	byHash map[[sha256.Size]byte]string
	ids    map[string]bool
}

// NewAuthenticator returns an Authenticator that knows tokens by their hashes (see
// HashToken), each of which may do everything here. Without any, none is asked
// for until there is one in the state.
func NewAuthenticator(tokenHashes []string) (*Authenticator, error) {
	a := &Authenticator{local: &localTokens{changed: make(chan struct{})}, now: time.Now, holds: new(holds)}
	if err := a.SetFile(tokenHashes); err != nil {
		return nil, err
	}
	return a, nil
}

// of returns the Authenticator of one coordinator, with the tokens of a.
func (a *Authenticator) of(machine *fsm.Machine, now func() time.Time, namespace string) *Authenticator {
	local := a.local
	if local == nil {
		local = &localTokens{changed: make(chan struct{})}
		local.set.Store(new(localSet))
	}
	return &Authenticator{local: local, view: machine.View, now: now, own: namespace, holds: new(holds)}
}

// SetFile replaces the tokens of the token file: what is not among them any more
// opens nothing from now on. Errors name the hash that is none; nothing changes
// then.
func (a *Authenticator) SetFile(tokenHashes []string) error {
	next := &localSet{asked: len(tokenHashes) > 0, byHash: map[[sha256.Size]byte]string{}, ids: map[string]bool{}}
	for i, h := range tokenHashes {
		if err := next.add(h); err != nil {
			return fmt.Errorf("token hash %d: %w", i+1, err)
		}
	}
	return a.local.replace(func() error {
		if a.local.worker == "" {
			return nil
		}
		return next.add(a.local.worker)
	}, next)
}

// SetWorker makes the token of this coordinator's own worker known, which may do
// everything. It does not make the doors ask for tokens.
func (a *Authenticator) SetWorker(tokenHash string) error {
	old := a.local.set.Load()
	next := &localSet{asked: old.asked, byHash: map[[sha256.Size]byte]string{}, ids: map[string]bool{}}
	for sum := range old.byHash {
		if err := next.add(hex.EncodeToString(sum[:])); err != nil {
			return err
		}
	}
	return a.local.replace(func() error {
		a.local.worker = tokenHash
		return next.add(tokenHash)
	}, next)
}

func (l *localTokens) replace(complete func() error, next *localSet) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := complete(); err != nil {
		return err
	}
	l.set.Store(next)
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

func (s *localSet) add(tokenHash string) error {
	raw, err := hex.DecodeString(tokenHash)
	if err != nil || len(raw) != sha256.Size {
		return errors.New("that is not a SHA-256 in hex")
	}
	id := fileTokenID(tokenHash)
	s.byHash[[sha256.Size]byte(raw)], s.ids[id] = id, true
	return nil
}

// fileToken begins the id of a token that is not in the state: the first hex
// digits of its hash follow.
const fileToken = "file:"

func fileTokenID(tokenHash string) string { return fileToken + tokenHash[:12] }

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
		id, err := a.identify(token)
		if err == nil && id != "" {
			who.token, who.seed = id, seedOf(token)
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

// identify returns the id of a token, "" if it is not known. It looks it up by its
// hash: what the time of that tells is about hashes, which open nothing, and it
// does not depend on how many tokens there are. Errors: unauthorized (expired).
func (a *Authenticator) identify(token string) (string, error) {
	sum := sha256.Sum256([]byte(token))
	if a.local != nil {
		if id, ok := a.local.set.Load().byHash[sum]; ok {
			return id, nil
		}
	}
	row, ok := a.tokenByHash(hex.EncodeToString(sum[:]))
	if !ok {
		return "", nil
	}
	return row.ID, a.inTime(row)
}

// inTime refuses a token that has expired.
func (a *Authenticator) inTime(row stateToken) error {
	if !row.Expires.IsZero() && !a.now().Before(row.Expires) {
		return wire.Refuse(wire.CodeUnauthorized, "token %s expired at %s", row.ID, row.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// asks reports whether tokens are asked for: there is a file of them here, or
// there are tokens in the state.
func (a *Authenticator) asks() bool { return a.fileAsks() || a.stateAsks() }

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
	if a.local.set.Load().ids[who.token] {
		return permission{all: true}, nil
	}
	row, ok := a.tokenByID(who.token)
	if !ok {
		return permission{}, wire.Refuse(wire.CodeUnauthorized, "token %s is not valid any more", who.token)
	}
	if err := a.inTime(row); err != nil {
		return permission{}, err
	}
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
	return Principal{from: Credentials{Door: Door(s.Kind), Name: s.FullName}, token: tokenOf(s), session: true, admitted: true}
}

// SameToken reports whether a session belongs to the principal's token.
func (a *Authenticator) SameToken(who Principal, s registry.Session) bool {
	return tokenOf(s) == a.sessionToken(who)
}

// Lost says why a session must end: its token is not valid any more, or a token is
// asked for and it has none; "" if neither. Sessions of tokens in the state end
// with them, by the log.
func (a *Authenticator) Lost(s registry.Session) string {
	if Door(s.Kind).withoutTokens() || isStateToken(tokenOf(s)) {
		return ""
	}
	switch _, err := a.permissionOf(a.AsSession(s)); {
	case err == nil:
		return ""
	case tokenOf(s) == "":
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
	now := TokenState{state: a.stateChanged()}
	if a.local != nil {
		now.local = a.local.set.Load()
	}
	return now
}

// withoutTokens reports whether a door has no place for a token.
func (d Door) withoutTokens() bool { return d == DoorLECO }
