package wire

import "time"

// What tokens look like, by their beginnings.
const (
	TokenPrefix     = "fmt_"    // one of the state, or made for a token file
	JoinTokenPrefix = "fmj_"    // one with which a coordinator gets its certificate
	TokenHashPrefix = "sha256:" // a line of a token file that has only the SHA-256 of a token, in hex
)

// NewToken is what a token is made of: the body of POST /v1/tokens.
type NewToken struct {
	Name   string   `json:"name,omitempty"` // for people; it opens nothing
	Grants []string `json:"grants"`         // at least one, such as jobs:write@lab1
	TTL    Duration `json:"ttl,omitempty"`  // 0: it does not expire
}

// Token is a token of the cluster's state.
type Token struct {
	ID string `json:"id"` // t_...
	// Token is the secret, fmt_...; it is told once, to who made the token.
	Token     string     `json:"token,omitempty"`
	Name      string     `json:"name"`
	Grants    []string   `json:"grants"`
	Created   time.Time  `json:"created,omitzero"`
	CreatedBy string     `json:"created_by,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty"` // to the hour; nil: never
	Index     uint64     `json:"index,omitempty"`     // of the write
}

// Tokens is a page of tokens, by id.
type Tokens struct {
	Tokens []Token `json:"tokens"`
	Next   string  `json:"next,omitempty"`
}

// NewJoinToken asks for a token with which a coordinator gets its certificate:
// the body of POST /v1/tokens/join.
type NewJoinToken struct {
	ID  string   `json:"id"`            // of the coordinator
	TTL Duration `json:"ttl,omitempty"` // default 10m, at most 1h
}

// JoinToken opens the signing of one certificate, once, and nothing else.
type JoinToken struct {
	ID      string    `json:"id"` // of the coordinator
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Index   uint64    `json:"index,omitempty"` // of the write
}
