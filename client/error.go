package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// CallError says what was asked of whom and what came of it. errors.As finds the *wire.Error in it, errors.Is the cause
// (context.DeadlineExceeded, for one).
type CallError struct {
	Method, Path string // Path is below /v1
	Addr         string // who answered, or was asked last; empty if nobody was
	RequestID    string // names the request in that coordinator's log
	Err          *wire.Error
	Cause        error // why there was no answer; nil when there was one
	Meta         Meta
}

func (e *CallError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s /v1%s", e.Method, e.Path)
	if e.Addr != "" {
		fmt.Fprintf(&b, " at %s", e.Addr)
	}
	fmt.Fprintf(&b, ": %s: %s", e.Err.Code, e.Err.Message)
	return b.String()
}

// Unwrap gives the wire error and the cause.
func (e *CallError) Unwrap() []error {
	if e.Cause != nil {
		return []error{e.Err, e.Cause}
	}
	return []error{e.Err}
}

// ErrLost is in the error of a session whose lease ran out, or that was ended by somebody else.
var ErrLost = errors.New("the session is lost")

// certain reports whether an error says that the session is over, as against that this is not known.
func certain(err error) bool {
	switch wire.CodeOf(err) {
	case wire.CodeNotFound, wire.CodeForbidden, wire.CodeUnauthorized, wire.CodeNameTaken, wire.CodeConflict, wire.CodeInvalid:
		return true
	}
	return false
}

// Removed reports whether a session was ended by an operator: it must not sign in again by itself.
func Removed(err error) bool { return wire.CodeOf(err) == wire.CodeForbidden }

// repeat says which failures of a request may be answered by asking again.
type repeat int

const (
	once     repeat = iota // only what was certainly not tried
	harmless               // anything unanswered: a read, or a write that a second time changes nothing
)

// problem turns an answer that is no success into an error. An answer that is not ours (a proxy's) is judged by its
// status, and for a write a 5xx of unknown making is unknown.
func problem(res *http.Response, body []byte, write bool) (*wire.Error, string) {
	retry := time.Duration(0)
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		retry = time.Duration(s) * time.Second
	}
	var p wire.Problem
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		msg := p.Detail
		if msg == "" {
			msg = p.Title
		}
		return &wire.Error{Code: p.Code, Message: msg, Field: p.Field, RetryAfter: retry, Needs: p.Needs, Token: p.Token}, p.RequestID
	}
	code := wire.CodeInternal
	switch s := res.StatusCode; {
	case s == http.StatusUnauthorized:
		code = wire.CodeUnauthorized
	case s == http.StatusForbidden:
		code = wire.CodeForbidden
	case s == http.StatusNotFound:
		code = wire.CodeNotFound
	case s == http.StatusConflict:
		code = wire.CodeConflict
	case s == http.StatusRequestEntityTooLarge:
		code = wire.CodeTooLarge
	case s == http.StatusTooManyRequests:
		code = wire.CodeBusy
	case s >= 500 && write:
		code = wire.CodeUnknown
	case s >= 500:
		code = wire.CodeUnavailable
	case s >= 400:
		code = wire.CodeInvalid
	}
	return &wire.Error{Code: code, Message: "answered " + res.Status + plainTextDetail(res, body), RetryAfter: retry}, ""
}

// plainTextDetail returns the first line of an answer in plain text, where a server that is no coordinator explains
// itself.
func plainTextDetail(res *http.Response, body []byte) string {
	kind := res.Header.Get("Content-Type")
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if kind != "" && !strings.HasPrefix(kind, "text/plain") || line == "" || !utf8.ValidString(line) || strings.EqualFold(line, http.StatusText(res.StatusCode)) {
		return ""
	}
	return fmt.Sprintf(": %.200s", strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, line))
}

// aboutTLS reports whether TLS was what failed: no repeat helps then, and no other trouble explains more.
func aboutTLS(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: ") || strings.Contains(err.Error(), "HTTP response to HTTPS client"))
}

// tlsError marks an error of the handshake as one of TLS.
func tlsError(err error) error {
	if err == nil || aboutTLS(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return fmt.Errorf("tls: the handshake failed: %w", err)
}
