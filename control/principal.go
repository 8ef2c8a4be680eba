package control

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// Door is the kind of way in by which a caller comes; it is the kind of the
// sessions that sign in there.
type Door string

// The doors.
const (
	DoorREST   Door = "rest"
	DoorNative Door = "native"
	DoorLECO   Door = "leco"
)

// Credentials are what a caller presented at a door, as it came: the door
// checks none of it.
type Credentials struct {
	Door        Door              // "" is DoorREST
	Remote      string            // address of the other side of the connection
	Certificate *x509.Certificate // that TLS verified; nil: none
	Token       string            // bearer token; "": none
	Secret      string            // of a session; "": none
	// Name is what the door itself knows the caller by, which presents no secret
	// with what it asks (LECO); "": it does not.
	Name string
}

// Principal is who asks for a use case. Authenticate makes one of what was
// presented; the zero value is somebody who presented nothing.
type Principal struct {
	from     Credentials // without the token
	admitted bool        // the token, if one was asked for, is known
}

// Name is the author that the log names: the session's full name where that is
// known, else the address that the principal asks from.
func (p Principal) Name() string {
	if p.from.Name != "" {
		return p.from.Name
	}
	return p.from.Remote
}

// Remote is the address that the principal asks from; "" is not known.
func (p Principal) Remote() string { return p.from.Remote }

// Certificate is what TLS verified of the principal; nil is none.
func (p Principal) Certificate() *x509.Certificate { return p.from.Certificate }

// Secret is the session's secret that was presented, which nobody has checked
// yet; "" is none.
func (p Principal) Secret() string { return p.from.Secret }

// Door is where the principal came in.
func (p Principal) Door() Door {
	if p.from.Door == "" {
		return DoorREST
	}
	return p.from.Door
}

// Via is the principal behind a further door: a WebSocket begins at REST and
// goes on as a native session.
func (p Principal) Via(d Door) Principal {
	p.from.Door = d
	return p
}

// AsSession is the principal of a session that asks over its mailbox or its
// connection, where no secret is needed.
func AsSession(s registry.Session) Principal {
	return Principal{from: Credentials{Door: Door(s.Kind), Name: s.FullName}, admitted: true}
}

// ForSession is the principal once it is known which session it asks for: the log
// names that one as the author. Whether it was let in stays as it is.
func (p Principal) ForSession(s registry.Session) Principal {
	p.from.Name = s.FullName
	return p
}

// HashToken returns the form in which a bearer token is kept: its SHA-256 in
// hex.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Authenticator knows the bearer tokens that open the doors.
type Authenticator struct{ tokens [][sha256.Size]byte }

// NewAuthenticator returns an Authenticator of tokens by their hashes (see
// HashToken). Without any, no token is asked for.
func NewAuthenticator(tokenHashes []string) (*Authenticator, error) {
	a := &Authenticator{}
	for i, h := range tokenHashes {
		raw, err := hex.DecodeString(h)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("token hash %d is not a SHA-256 in hex", i+1)
		}
		a.tokens = append(a.tokens, [sha256.Size]byte(raw))
	}
	return a, nil
}

// Authenticate returns the principal that presented from: the one place where a
// token is compared. A session's secret is checked by the use case that it is
// for. Errors: unauthorized (a token is asked for at this door, and this one is
// not known).
func (a *Authenticator) Authenticate(from Credentials) (Principal, error) {
	if a.asks(from.Door) && !a.knows(from.Token) {
		return Principal{}, wire.Refuse(wire.CodeUnauthorized, "the token is not known here")
	}
	from.Token = ""
	return Principal{from: from, admitted: true}, nil
}

// asks reports whether a door asks for a token: LECO has no place for one.
func (a *Authenticator) asks(d Door) bool { return len(a.tokens) > 0 && d != DoorLECO }

// knows compares a token with all there are, by hash, so that the time reveals
// nothing about them.
func (a *Authenticator) knows(token string) bool {
	sum := sha256.Sum256([]byte(token))
	found := 0
	for i := range a.tokens {
		found |= subtle.ConstantTimeCompare(sum[:], a.tokens[i][:])
	}
	return found != 0
}
