package rest

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/folkmoot/folkmoot/wire"
)

// statuses is the one table from codes to statuses.
var statuses = map[wire.Code]int{
	wire.CodeInvalid:      http.StatusBadRequest,
	wire.CodeUnauthorized: http.StatusUnauthorized,
	wire.CodeForbidden:    http.StatusForbidden,
	wire.CodeNotFound:     http.StatusNotFound,
	wire.CodeNameTaken:    http.StatusConflict,
	wire.CodeConflict:     http.StatusConflict,
	wire.CodeBusy:         http.StatusTooManyRequests,
	wire.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	wire.CodeUnavailable:  http.StatusServiceUnavailable,
	wire.CodeUnknown:      http.StatusGatewayTimeout,
	wire.CodeInternal:     http.StatusInternalServerError,
}

// Status returns the HTTP status of a code; an unlisted code is internal.
func Status(code wire.Code) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// StatusError is a refusal of HTTP itself, whose status says more than its code.
type StatusError struct {
	Status int
	Err    *wire.Error
}

func (e *StatusError) Error() string { return e.Err.Message }

// Unwrap returns the refusal.
func (e *StatusError) Unwrap() error { return e.Err }

// OutcomeError is a failure whose problem has a member outcome beside the code.
type OutcomeError struct {
	Outcome func(*wire.Error) string // of the refusal that Err is answered as
	Err     error
}

func (e *OutcomeError) Error() string { return e.Err.Error() }

// Unwrap returns the failure.
func (e *OutcomeError) Unwrap() error { return e.Err }

// problem is wire.Problem with the outcome of an OutcomeError.
type problem struct {
	wire.Problem
	Outcome string `json:"outcome,omitempty"`
}

// refusalOf returns the status and the refusal that err is answered as.
func refusalOf(err error) (int, *wire.Error) {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status, status.Err
	}
	var refusal *wire.Error
	if errors.As(err, &refusal) {
		return Status(refusal.Code), refusal
	}
	var router *echo.HTTPError
	if errors.As(err, &router) {
		switch router.Code {
		case http.StatusNotFound:
			return router.Code, wire.Refuse(wire.CodeNotFound, "there is nothing at this path")
		case http.StatusMethodNotAllowed:
			return router.Code, wire.Refuse(wire.CodeInvalid, "this path does not take this method")
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Status(wire.CodeUnknown), wire.Unknown(err)
	}
	return http.StatusInternalServerError, wire.Refuse(wire.CodeInternal, "internal fault: %v", err)
}

// WriteProblem answers err as application/problem+json (RFC 9457) and returns
// the status. Nothing may have been written before.
func WriteProblem(w http.ResponseWriter, err error) int {
	status, refusal := refusalOf(err)
	h := w.Header()
	switch refusal.Code {
	case wire.CodeBusy, wire.CodeUnavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfter(refusal)))
	case wire.CodeUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	}
	p := problemOf(err, h.Get("X-Request-Id"))
	body, marshalErr := json.Marshal(&p)
	if marshalErr != nil { // cannot be: a problem is strings and numbers
		body = []byte(`{"code":"internal"}`)
	}
	body = append(body, '\n')
	h["Content-Type"] = typeProblem
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: there is nobody to report it to
	return status
}

// retryAfter is in whole seconds, at least 1.
func retryAfter(e *wire.Error) int {
	if e.RetryAfter <= 0 {
		return 1
	}
	return int(math.Ceil(min(e.RetryAfter, time.Hour).Seconds()))
}

// problemOf returns err in the form of RFC 9457.
func problemOf(err error, requestID string) problem {
	status, refusal := refusalOf(err)
	p := problem{Problem: wire.Problem{
		Type:      "about:blank",
		Title:     http.StatusText(status),
		Status:    status,
		Detail:    refusal.Message,
		Code:      refusal.Code,
		Field:     refusal.Field,
		RequestID: requestID,
		Needs:     refusal.Needs,
		Token:     refusal.Token,
	}}
	var outcome *OutcomeError
	if errors.As(err, &outcome) {
		p.Outcome = outcome.Outcome(refusal)
	}
	return p
}

// Clip returns s, shortened to about 120 bytes, so that what a caller sent does
// not fill the answer that refuses it.
func Clip(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
