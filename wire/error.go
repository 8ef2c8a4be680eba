package wire

import (
	"errors"
	"fmt"
	"time"
)

// Code is one of the closed list of error codes. Tools hold on to them: add,
// never rename.
type Code string

// The closed list. The first eight are refusals: it is certain that nothing
// changed.
const (
	CodeInvalid      Code = "invalid"
	CodeUnauthorized Code = "unauthorized"
	CodeForbidden    Code = "forbidden"
	CodeNotFound     Code = "not_found"
	CodeNameTaken    Code = "name_taken"
	CodeConflict     Code = "conflict"
	CodeBusy         Code = "busy"
	CodeTooLarge     Code = "too_large"
	CodeUnavailable  Code = "unavailable" // not tried: repeat safely
	CodeUnknown      Code = "unknown"     // it may have happened: repeat with the same id only
	CodeInternal     Code = "internal"    // a fault of ours; for a write, as certain as unknown
)

// Error is a failure with a code that a caller in another process can act on.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Field names the part of the request that is wrong, if one is.
	Field string `json:"field,omitempty"`
	// RetryAfter is when a repeat makes sense; 0 when it is not known.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// Needs is what a forbidden caller would have needed, a grant like jobs:write@lab1,
	// and Token the id of the token that lacks it; "" where neither is about tokens.
	Needs string `json:"needs,omitempty"`
	Token string `json:"token,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Refuse returns an error of the given code; the message names the thing.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid refuses one field of a request.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// NotTried says that a write certainly did not happen and why.
func NotTried(format string, args ...any) *Error {
	return &Error{Code: CodeUnavailable, Message: fmt.Sprintf(format, args...)}
}

// Unknown says that a write may or may not have happened, now or later.
func Unknown(err error) *Error {
	return &Error{Code: CodeUnknown, Message: "the outcome is unknown: " + err.Error()}
}

// CodeOf returns the code of err, CodeInternal for an error that has none and
// "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Result is what the state machine answers to one command. Value is the
// command's own reply type, or its JSON (json.RawMessage) when the answer came
// from another coordinator. Err is a refusal: nothing changed.
type Result struct {
	Value any    `json:"value,omitempty"`
	Err   *Error `json:"err,omitempty"`
}
