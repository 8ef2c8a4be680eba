package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
)

// UniqueKeys refuses JSON in which an object gives a key twice, since readers
// differ in which of the two counts. data is JSON that was decoded into a value
// of into's type, and is checked as far as that type says what is in it: what
// stays undecoded (json.RawMessage: the content of a message, the args and
// items of a job) is left to its receiver. A key that encoding/json takes for a
// field's name, as "NAME" for "name", is that field. The error is invalid and
// names the key by its path from the top.
func UniqueKeys(data []byte, into any) error {
	w := walker{scanner: scanner{text: data}}
	return w.value(reflect.TypeOf(into), "")
}

// ValidText refuses JSON in which a string that is decoded into a string of Go
// is not UTF-8 or holds half of a surrogate pair, as "\udce9" does, which UTF-8
// cannot encode: it would be decoded as another character. data and into are
// those of UniqueKeys; what stays undecoded is left to its receiver here too.
// The error is invalid and names the field.
func ValidText(data []byte, into any) error {
	if !bytes.Contains(data, []byte(`\u`)) && utf8.Valid(data) {
		return nil
	}
	w := walker{scanner: scanner{text: data}, checkText: true}
	return w.value(reflect.TypeOf(into), "")
}

// walker steps through JSON along a type. Text that is no JSON ends the walk:
// the decoder refuses it.
type walker struct {
	scanner
	checkText bool // look for invalid text instead of keys given twice
}

func (w *walker) value(t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer && !decodesItself(t) {
		t = t.Elem()
	}
	switch c := w.next(); {
	case c == '{' && mayHoldKeys(t):
		return w.object(t, path)
	case c == '[' && mayHoldKeys(t):
		return w.list(t, path)
	case c == '[' && w.checkText && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && !decodesItself(t):
		return w.list(t, path)
	case c == '"' && w.checkText && t.Kind() == reflect.String && !decodesItself(t):
		return validString(w.skipString(), path)
	}
	w.skipValue()
	return nil
}

func (w *walker) object(t reflect.Type, path string) error {
	w.at++
	seen := map[string]bool{}
	for w.next() == '"' {
		quoted := w.skipString()
		name, inner := fieldOf(t, keyText(quoted))
		here := strings.TrimPrefix(path+"."+clip(name), ".")
		if w.checkText {
			if err := validString(quoted, here); err != nil {
				return err
			}
		} else if seen[name] {
			return wire.Invalid(here, "%q is told twice", here)
		}
		seen[name] = true
		if !w.accept(':') {
			return nil
		}
		if err := w.value(inner, here); err != nil {
			return err
		}
		w.accept(',')
	}
	w.accept('}')
	return nil
}

func (w *walker) list(t reflect.Type, path string) error {
	w.at++
	inner := reflect.TypeFor[any]()
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		inner = t.Elem()
	}
	for i := 0; w.next() != ']' && w.at < len(w.text); i++ {
		from := w.at
		if err := w.value(inner, path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
		if !w.accept(',') && w.at == from {
			return nil
		}
	}
	w.accept(']')
	return nil
}

// validString refuses a string that is not UTF-8, or in which an escape is half of a
// surrogate pair.
func validString(quoted []byte, path string) error {
	if !utf8.Valid(quoted) {
		return wire.Invalid(path, "%s is not UTF-8", path)
	}
	high := -1 // where the first half of a pair has ended
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		if i++; i+5 > len(quoted) || quoted[i] != 'u' {
			continue
		}
		n, err := strconv.ParseUint(string(quoted[i+1:i+5]), 16, 16)
		switch first, second := n>>10 == 0xD800>>10, n>>10 == 0xDC00>>10; {
		case err != nil:
			return nil // no JSON
		case second && high == i-1:
			high = -1
		case high >= 0 || second:
			return wire.Invalid(path, "%s holds half of a surrogate pair (\\u%04X): it is no text", path, n)
		case first:
			high = i + 5
		}
		i += 4
	}
	if high >= 0 {
		return wire.Invalid(path, "%s holds half of a surrogate pair: it is no text", path)
	}
	return nil
}

func keyText(quoted []byte) string {
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(quoted)
	}
	return s
}

// clip keeps what a caller sent from filling the answer that refuses it.
func clip(key string) string {
	const limit = 120
	if len(key) <= limit {
		return key
	}
	return strings.ToValidUTF8(key[:limit], "") + "..."
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func decodesItself(t reflect.Type) bool {
	return t.Implements(jsonUnmarshaler) || t.Implements(textUnmarshaler) ||
		t.Kind() != reflect.Pointer && (reflect.PointerTo(t).Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler))
}

// mayHoldKeys reports whether a value of t is built from JSON that may have
// objects in it.
func mayHoldKeys(t reflect.Type) bool {
	if decodesItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Interface:
		return true
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return mayHoldKeys(t.Elem())
	}
	return false
}

// fieldOf returns the name under which encoding/json keeps a key of an object
// that is read into t, and the type of its value.
func fieldOf(t reflect.Type, key string) (string, reflect.Type) {
	switch t.Kind() {
	case reflect.Map:
		return key, t.Elem()
	case reflect.Struct:
		fields := fieldsOf(t)
		if inner, ok := fields[key]; ok {
			return key, inner
		}
		for name, inner := range fields {
			if strings.EqualFold(name, key) {
				return name, inner
			}
		}
		return key, reflect.TypeFor[json.RawMessage]()
	}
	return key, reflect.TypeFor[any]()
}

var knownFields sync.Map // of struct types: their fields by JSON name

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := knownFields.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || name == "" && f.Anonymous || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
	}
	knownFields.Store(t, fields)
	return fields
}
