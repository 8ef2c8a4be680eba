package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// HashToken returns the form in which a bearer token is kept: its SHA-256 in
// hex.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// tokens is the set of tokens that open this door. The empty set asks for
// none.
type tokens [][sha256.Size]byte

func parseTokens(hashes []string) (tokens, error) {
	var t tokens
	for i, h := range hashes {
		raw, err := hex.DecodeString(h)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("token hash %d is not a SHA-256 in hex", i+1)
		}
		t = append(t, [sha256.Size]byte(raw))
	}
	return t, nil
}

// check refuses a request without one of the tokens. The time it takes tells
// nothing about them: all are compared, by hash.
func (t tokens) check(r *http.Request) error {
	if len(t) == 0 {
		return nil
	}
	given := r.Header["Authorization"]
	if len(given) != 1 {
		return wire.Refuse(wire.CodeUnauthorized, "this call needs one header Authorization: Bearer TOKEN")
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return wire.Refuse(wire.CodeUnauthorized, "this call needs the header Authorization: Bearer TOKEN")
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := 0
	for i := range t {
		found |= subtle.ConstantTimeCompare(sum[:], t[i][:])
	}
	if found == 0 {
		return wire.Refuse(wire.CodeUnauthorized, "the token is not known here")
	}
	return nil
}
