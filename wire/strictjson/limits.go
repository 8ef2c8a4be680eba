package strictjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// Fields are the JSON names of the fields of one struct.
type Fields map[string]bool

// FieldsOf lists the JSON names of the fields of T; it panics for anything but
// a struct and is meant for package variables.
func FieldsOf[T any]() Fields {
	t := reflect.TypeFor[T]()
	fields := Fields{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		fields[name] = true
	}
	return fields
}

// Limits are what Check holds JSON to.
type Limits struct {
	What     string // what the JSON is, for the errors: "the body"
	MaxDepth int    // how deep objects and lists may be nested
	// Fields are the fields that the top-level object may have; nil lets any JSON
	// value pass. Names are compared exactly, where the decoder alone would take
	// "NAME" for "name".
	Fields Fields
}

// Check refuses what is cheap to refuse before anything is built from data:
// text that is not UTF-8, nothing at all, unknown top-level fields, and nesting
// deeper than MaxDepth. The error is invalid and names the field where there is
// one.
func (l *Limits) Check(data []byte) error {
	if !utf8.Valid(data) {
		return wire.Invalid("", "%s is not valid UTF-8", l.What)
	}
	s := scanner{text: data}
	switch first := s.next(); {
	case s.at == len(data):
		return wire.Invalid("", "%s is empty: a JSON object is wanted", l.What)
	case l.Fields != nil && first != '{':
		return wire.Invalid("", "%s is not a JSON object", l.What)
	}
	depth, key := 0, false // key: the next string at depth 1 is a field's name
	var field []byte       // the last of those, with its quotes
	for s.at < len(data) {
		switch data[s.at] {
		case '{', '[':
			if depth++; depth > l.MaxDepth {
				return l.tooDeep(field)
			}
			key = depth == 1
		case '}', ']':
			depth--
		case ',':
			key = depth == 1
		case '"':
			text := s.skipString()
			if key {
				field = text
				if err := l.Fields.check(field); err != nil {
					return err
				}
			}
			key = false
			continue
		}
		s.at++
	}
	return nil
}

// tooDeep refuses JSON for one of its fields, given with its quotes, or as a
// whole when field is nil.
func (l *Limits) tooDeep(field []byte) error {
	var name string
	if field == nil || json.Unmarshal(field, &name) != nil {
		return wire.Invalid("", "%s is nested deeper than %d", l.What, l.MaxDepth)
	}
	return wire.Invalid(clip(name), "%s is nested too deep: %s may be nested %d deep", clip(name), l.What, l.MaxDepth)
}

// check refuses a field, given with its quotes, that is not in fields; nil
// fields hold every name.
func (fields Fields) check(quoted []byte) error {
	if fields == nil || len(quoted) < 2 { // cut off: the decoder refuses it
		return nil
	}
	if fields[string(quoted[1:len(quoted)-1])] {
		return nil
	}
	var name string
	if json.Unmarshal(quoted, &name) == nil && !fields[name] {
		return wire.Invalid(clip(name), "unknown field %q", clip(name))
	}
	return nil
}
