package rest

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"sync/atomic"
)

// RequestIDs names requests: a random prefix for this process and a number.
type RequestIDs struct {
	prefix string
	last   atomic.Uint64
}

// NewRequestIDs returns ids with a prefix of their own.
func NewRequestIDs() *RequestIDs {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return &RequestIDs{prefix: hex.EncodeToString(b[:]) + "-"}
}

// SetHeader sets X-Request-Id: the caller's own if it is 1 to 128 plain
// characters, so that it can find its request in several logs, else a new one.
func (ids *RequestIDs) SetHeader(h http.Header, r *http.Request) {
	if given := r.Header["X-Request-Id"]; len(given) == 1 && validRequestID(given[0]) {
		h["X-Request-Id"] = given
		return
	}
	b := make([]byte, 0, 32)
	b = append(b, ids.prefix...)
	b = strconv.AppendUint(b, ids.last.Add(1), 36)
	h["X-Request-Id"] = []string{string(b)}
}

func validRequestID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' && c != ':' {
			return false
		}
	}
	return true
}
