package registry

import (
	"fmt"
	"time"

	"github.com/tidwall/btree"
)

// tokenIndex is the live sessions of each token that has one.
type tokenIndex = btree.Map[string, tree]

// ofToken returns the live sessions of a token.
func (t *Table) ofToken(token string) tree {
	if t.tokens == nil {
		return tree{}
	}
	sessions, _ := t.tokens.Get(token)
	return sessions
}

// addToToken and removeFromToken keep the index of tokens in step. Sessions
// without one cost nothing.
func (t *Table) addToToken(s *Session) {
	if s.Token == "" {
		return
	}
	sessions := t.ofToken(s.Token)
	sessions.set(t.owner, s)
	t.writableTokens().Set(s.Token, sessions)
}

func (t *Table) removeFromToken(s *Session) {
	if s.Token == "" {
		return
	}
	sessions := t.ofToken(s.Token)
	if sessions.remove(t.owner, s); sessions.size == 0 {
		t.writableTokens().Delete(s.Token)
	} else {
		t.writableTokens().Set(s.Token, sessions)
	}
}

// writableTokens returns the index of this copy alone.
func (t *Table) writableTokens() *tokenIndex {
	if !t.ownsTokens {
		if t.tokens == nil {
			t.tokens = new(tokenIndex)
		}
		t.tokens, t.ownsTokens = t.tokens.Copy(), true
	}
	return t.tokens
}

// SessionsOfToken is how many live sessions belong to a token.
func (t *Table) SessionsOfToken(token string) int { return t.ofToken(token).size }

// MinLevel is the level that the command needs: older binaries do not know tokens.
func (c *SignIn) MinLevel() int {
	if c.Token != "" {
		return tokenLevel
	}
	return 1
}

// tokenLevel is the level from which on sessions have tokens.
const tokenLevel = 2

// EndToken ends the sessions of a token that is gone, by their full names. To
// everybody they were removed. They may be taken over with a token that has the
// right to: those whom an operator removed by name are remembered apart, and a
// token with a thousand sessions must not make them welcome again.
func (t *Table) EndToken(token, reason string, at time.Time) {
	var sessions []*Session
	of := t.ofToken(token)
	of.ascend("", func(s *Session) bool {
		sessions = append(sessions, s)
		return true
	})
	for _, s := range sessions {
		t.endInto(&t.writableCold().ended, s, EventRemoved, reason, at)
	}
}

// verifyTokens compares the index with how many sessions each token has.
func (t *Table) verifyTokens(sessions map[string]int) (err error) {
	if t.tokens == nil {
		return nil // whoever has a token was looked up
	}
	t.tokens.Scan(func(token string, of tree) bool {
		if of.size == 0 || of.size != sessions[token] {
			err = fmt.Errorf("token %s has %d sessions, but %d are counted", token, sessions[token], of.size)
		}
		return err == nil
	})
	return err
}
