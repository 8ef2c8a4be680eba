// Package strictjson decodes JSON that strangers wrote, and refuses what
// encoding/json lets pass: unknown fields, keys given twice, text that is not
// UTF-8, deep nesting.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// ErrTrailing is the error of Decode when something follows the JSON value.
var ErrTrailing = errors.New("something follows the JSON value")

// DecodeError is an error of encoding/json: no JSON, an unknown field or a
// value of the wrong type.
type DecodeError struct{ Err error }

func (e *DecodeError) Error() string { return e.Err.Error() }

// Unwrap returns the error of encoding/json.
func (e *DecodeError) Unwrap() error { return e.Err }

// Decode decodes the one JSON value that data holds into the value that into
// points to. Errors: *DecodeError, ErrTrailing, and those of UniqueKeys and
// ValidText (*wire.Error, invalid).
func Decode(data []byte, into any) error {
	if err := DecodeKnown(data, into); err != nil {
		return err
	}
	if err := UniqueKeys(data, into); err != nil {
		return err
	}
	return ValidText(data, into)
}

// DecodeKnown is Decode without the checks of UniqueKeys and ValidText.
func DecodeKnown(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return &DecodeError{err}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return ErrTrailing
	}
	return nil
}
