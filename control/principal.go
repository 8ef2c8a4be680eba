package control

import (
	"crypto/sha256"
	"crypto/x509"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/registry"
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
	from      Credentials // without the token
	token     string      // id of the token that was presented; "": none is known
	tokenName string      // of that token; "" has none, or is not known
	join      string      // the join token, if it was that
	seed      [32]byte    // of what is derived for the bearer of this token alone
	session   bool        // it is a session, which asks by its connection or mailbox
	admitted  bool        // Authenticate, or a session's sign-in, has let it in
}

// Name is the author that the log names: the session's full name where that is
// known, else the address that the principal asks from.
func (p Principal) Name() string {
	if p.from.Name != "" {
		return p.from.Name
	}
	return p.from.Remote
}

// Token is the id of the principal's token: t_... of one in the state, file:... of
// one that only this coordinator knows, join:ID of a join token for coordinator ID; ""
// if it has none.
func (p Principal) Token() string { return p.token }

// Author is the principal as the author of a command that needs a right in a
// namespace ("": of the cluster): its token is judged once more at the command's
// place in the log.
func (p Principal) Author(right Right, namespace string) propose.Author {
	a := propose.Author{By: p.Name()}
	if isStateToken(p.token) {
		a.Token, a.Needs = p.token, access.Grants{{Right: right, Namespace: namespace}}
	}
	return a
}

// Seed is what stands for the bearer of the principal's token, and cannot be
// guessed; the zero value if it presented none.
func (p Principal) Seed() [32]byte { return p.seed }

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

// ForSession is the principal once it is known which session it asks for: the log
// names that one as the author. Whether it was let in stays as it is.
func (p Principal) ForSession(s registry.Session) Principal {
	p.from.Name = s.FullName
	return p
}

// seedOf is what is derived from a token for its bearer alone.
func seedOf(token string) [32]byte { return sha256.Sum256([]byte("folkmoot bearer seed v1:" + token)) }
