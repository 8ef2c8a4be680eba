package control

import (
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/jobs"
)

// stateToken is what the doors need of a token in the state.
type stateToken struct {
	ID      string
	Grants  access.Grants
	Expires time.Time // zero: never
}

// stateTokens are the tokens in the state.
type stateTokens interface {
	byHash(hash string) (stateToken, bool)
	byID(id string) (stateToken, bool)
	// asked reports whether tokens are asked for, since there is one in the state.
	asked() bool
	// changed is the index at which they changed last.
	changed() uint64
}

// noTokens are those of a state that has no place for them.
type noTokens struct{}

func (noTokens) byHash(string) (stateToken, bool) { return stateToken{}, false }
func (noTokens) byID(string) (stateToken, bool)   { return stateToken{}, false }
func (noTokens) asked() bool                      { return false }
func (noTokens) changed() uint64                  { return 0 }

// tokensOf returns the tokens in the state of a machine.
func tokensOf(*fsm.Machine) stateTokens { return noTokens{} }

// tokenPrefix begins the id of a token of the state.
const tokenPrefix = "t_"

func isStateToken(id string) bool { return strings.HasPrefix(id, tokenPrefix) }

// NamespaceOfJob is the namespace of a job.
func NamespaceOfJob(jobs.Job) string { return DefaultNamespace }
