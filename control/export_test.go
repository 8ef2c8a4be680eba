package control

import (
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/access"
)

// TestToken is a token of the state for tests.
type TestToken struct {
	ID, Secret string
	Grants     access.Grants
	Expires    time.Time
}

// TestTokens are tokens of the state by a test's own word.
type TestTokens struct {
	mu      sync.Mutex
	list    []TestToken
	changes uint64
}

// Set replaces them.
func (s *TestTokens) Set(list ...TestToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
	s.changes++
}

func (s *TestTokens) find(is func(TestToken) bool) (stateToken, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.list {
		if is(k) {
			return stateToken{k.ID, k.Grants, k.Expires}, true
		}
	}
	return stateToken{}, false
}

func (s *TestTokens) byHash(hash string) (stateToken, bool) {
	return s.find(func(k TestToken) bool { return HashToken(k.Secret) == hash })
}

func (s *TestTokens) byID(id string) (stateToken, bool) {
	return s.find(func(k TestToken) bool { return k.ID == id })
}

func (s *TestTokens) asked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list) > 0
}

func (s *TestTokens) changed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// UseTokens has an Authenticator look tokens up there, from before it is used.
func UseTokens(a *Authenticator, tokens *TestTokens) { a.state = tokens }
