package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

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

// How long a join token is good: if nobody says, and at most.
const (
	DefaultJoinTTL = 10 * time.Minute
	MaxJoinTTL     = time.Hour
)

// NewJoinToken asks for a token with which a coordinator gets its certificate:
// the body of POST /v1/tokens/join.
type NewJoinToken struct {
	ID  string   `json:"id"`            // of the coordinator
	TTL Duration `json:"ttl,omitempty"` // 0: DefaultJoinTTL; at most MaxJoinTTL
}

// JoinToken opens the signing of one certificate, once, and nothing else.
type JoinToken struct {
	ID      string    `json:"id"` // of the coordinator
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Index   uint64    `json:"index,omitempty"` // of the write
}

// FormatJoinToken writes a join token: fmj_, the SHA-256 of the authority that is to
// sign, by which whoever has the token knows the cluster, and the secret.
func FormatJoinToken(authority [sha256.Size]byte, secret string) string {
	return JoinTokenPrefix + base64.RawURLEncoding.EncodeToString(authority[:]) + "_" + secret
}

// ParseJoinToken returns the SHA-256 of the authority that a join token names.
// Whether the token is good only the cluster knows.
func ParseJoinToken(token string) (authority [sha256.Size]byte, err error) {
	rest, ok := strings.CutPrefix(token, JoinTokenPrefix)
	size := base64.RawURLEncoding.EncodedLen(sha256.Size)
	if !ok || len(rest) <= size+1 || rest[size] != '_' {
		return authority, errors.New("this is no join token, fmj_..._...: raftctl tokens join makes one")
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(rest[:size])
	if err != nil || len(sum) != sha256.Size {
		return authority, errors.New("the join token is damaged")
	}
	return [sha256.Size]byte(sum), nil
}

// SignCertificate is the body of POST /v1/ca/sign: a certificate request in PEM,
// of which the key and the hosts are taken alone.
type SignCertificate struct {
	CSR string `json:"csr"`
	// ID, if it is given, is the coordinator that the caller means: a join token for
	// another is refused, and not used up. The certificate has the id of the token.
	ID string `json:"id,omitempty"`
}

// SignedCertificate is a signed certificate in PEM: the certificate, and the authorities to trust.
type SignedCertificate struct {
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
}
