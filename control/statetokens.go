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
	// goneHash says what became of a token that is not in the state any more.
	goneHash(hash string) (string, bool)
	// asked reports whether tokens are asked for, since there is one in the state.
	asked() bool
	// changed is the index at which they changed last.
	changed() uint64
}

// noTokens are those of a state that has no place for them.
type noTokens struct{}

func (noTokens) byHash(string) (stateToken, bool) { return stateToken{}, false }
func (noTokens) byID(string) (stateToken, bool)   { return stateToken{}, false }
func (noTokens) goneHash(string) (string, bool)   { return "", false }
func (noTokens) asked() bool                      { return false }
func (noTokens) changed() uint64                  { return 0 }

// tokensIn are the tokens in the state of a machine.
type tokensIn struct{ machine *fsm.Machine }

func (t tokensIn) table() *access.Table { return t.machine.View().Access }

func (t tokensIn) byHash(hash string) (stateToken, bool) {
	row, ok := t.table().TokenByHash(hash)
	return stateToken{row.ID, row.Grants, row.Expires}, ok
}

func (t tokensIn) byID(id string) (stateToken, bool) {
	row, ok := t.table().Token(id)
	return stateToken{row.ID, row.Grants, row.Expires}, ok
}

func (t tokensIn) goneHash(hash string) (string, bool) {
	gone, ok := t.table().GoneByHash(hash)
	return gone.Text(), ok
}

func (t tokensIn) asked() bool     { return t.table().Asked() }
func (t tokensIn) changed() uint64 { return t.table().Changed() }

func isStateToken(id string) bool { return strings.HasPrefix(id, access.IDPrefix) }

// NamespaceOfJob is the namespace of a job.
func NamespaceOfJob(j jobs.Job) string { return j.InNamespace() }
