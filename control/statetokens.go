package control

import (
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/jobs"
	"github.com/folkmoot/folkmoot/registry"
)

// stateToken is what the doors need of a token in the state.
type stateToken struct {
	ID      string
	Grants  access.Grants
	Expires time.Time // zero: never
}

// tokenPrefix begins the id of a token of the state.
const tokenPrefix = "t_"

func isStateToken(id string) bool { return strings.HasPrefix(id, tokenPrefix) }

func (a *Authenticator) tokenByHash(string) (stateToken, bool) { return stateToken{}, false }

func (a *Authenticator) tokenByID(string) (stateToken, bool) { return stateToken{}, false }

// stateAsks reports whether tokens are asked for since there is, or was, one in the state.
func (a *Authenticator) stateAsks() bool { return false }

// stateChanged is the index at which the tokens of the state changed last.
func (a *Authenticator) stateChanged() uint64 { return 0 }

// NamespaceOfJob is the namespace of a job.
func NamespaceOfJob(jobs.Job) string { return DefaultNamespace }

// tokenOf is the id of the token that a session signed in by.
func tokenOf(registry.Session) string { return "" }

// sessionToken is what the row of a session that a principal signs in has as its
// token.
func (a *Authenticator) sessionToken(Principal) string { return "" }
