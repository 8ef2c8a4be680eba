package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
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

// doorError is a refusal of HTTP itself, whose status says more than its code.
type doorError struct {
	status int
	err    *wire.Error
}

func (e *doorError) Error() string { return e.err.Message }
func (e *doorError) Unwrap() error { return e.err }

// sendError is the failure of a send: it tells the outcome beside the code.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// problem is wire.Problem with the outcome of a send.
type problem struct {
	wire.Problem
	Outcome string `json:"outcome,omitempty"`
}

// outcome names what became of a message that was not delivered. A not_found
// with a field is of the sender's own session: nobody looked for the receiver.
func outcome(e *wire.Error) string {
	switch {
	case e.Code == wire.CodeNotFound && e.Field == "":
		return "receiver_unknown"
	case e.Code == wire.CodeUnknown, e.Code == wire.CodeInternal:
		return "unknown"
	default:
		return "refused"
	}
}

// statusOf returns the status and the words for err.
func statusOf(err error) (int, *wire.Error) {
	var door *doorError
	if errors.As(err, &door) {
		return door.status, door.err
	}
	var e *wire.Error
	if errors.As(err, &e) {
		return Status(e.Code), e
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

// writeProblem answers err as application/problem+json (RFC 9457) and returns
// the status. The caller has written nothing yet.
func writeProblem(w http.ResponseWriter, err error) int {
	status, e := statusOf(err)
	h := w.Header()
	switch e.Code {
	case wire.CodeBusy, wire.CodeUnavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfter(e)))
	case wire.CodeUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	}
	p := problemOf(err, h.Get("X-Request-Id"))
	body, merr := json.Marshal(&p)
	if merr != nil { // cannot be: the words are strings and numbers
		body = []byte(`{"code":"internal"}`)
	}
	body = append(body, '\n')
	h["Content-Type"] = typeProblem
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
	return status
}

// retryAfter is in whole seconds, at least 1.
func retryAfter(e *wire.Error) int {
	if e.RetryAfter <= 0 {
		return 1
	}
	return int(math.Ceil(min(e.RetryAfter, time.Hour).Seconds()))
}

// problemOf tells err in the words of RFC 9457.
func problemOf(err error, requestID string) problem {
	status, e := statusOf(err)
	p := problem{Problem: wire.Problem{
		Type:      "about:blank",
		Title:     http.StatusText(status),
		Status:    status,
		Detail:    e.Message,
		Code:      e.Code,
		Field:     e.Field,
		RequestID: requestID,
	}}
	var send *sendError
	if errors.As(err, &send) {
		p.Outcome = outcome(e)
	}
	return p
}
