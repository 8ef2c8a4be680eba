package wire

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Unique refuses JSON in which an object tells a key twice, since readers
// differ in which of the two counts. body is JSON that was read into a value
// of into's type, and is judged as far as that type says what is in it: what
// stays as it came (json.RawMessage: the content of a message, the args and
// items of a job) is its receiver's to judge. A key that encoding/json takes
// for a field's name, as "NAME" for "name", is that field. The error is invalid
// and names the key by its way from the top.
func Unique(body []byte, into any) error {
	u := unique{text: body}
	return u.value(reflect.TypeOf(into), "")
}

// Whole refuses JSON in which a string that is read into a string of Go is not
// UTF-8 or holds half of a surrogate pair, as "\udce9" does, which no UTF-8
// says: another character would be taken for it. body and into are those of Unique; what stays
// as it came is its receiver's to judge here too. The error is invalid and
// names the field.
func Whole(body []byte, into any) error {
	if !bytes.Contains(body, []byte(`\u`)) && utf8.Valid(body) {
		return nil
	}
	u := unique{text: body, whole: true}
	return u.value(reflect.TypeOf(into), "")
}

// unique walks through JSON along a type. What is no JSON ends the walk: to say
// so is the decoder's affair.
type unique struct {
	text  []byte
	at    int
	whole bool // look for halves of surrogate pairs, and not for keys told twice
}

// next steps over blanks and returns what comes then, 0 at the end.
func (u *unique) next() byte {
	for ; u.at < len(u.text); u.at++ {
		if c := u.text[u.at]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

func (u *unique) has(c byte) bool {
	if u.next() != c {
		return false
	}
	u.at++
	return true
}

func (u *unique) value(t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer && !readsItself(t) {
		t = t.Elem()
	}
	switch c := u.next(); {
	case c == '{' && holdsKeys(t):
		return u.object(t, path)
	case c == '[' && holdsKeys(t):
		return u.list(t, path)
	case c == '[' && u.whole && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && !readsItself(t):
		return u.list(t, path)
	case c == '"' && u.whole && t.Kind() == reflect.String && !readsItself(t):
		from := u.at
		u.str()
		return halved(u.text[from:u.at], path)
	}
	u.skip()
	return nil
}

func (u *unique) object(t reflect.Type, path string) error {
	u.at++
	told := map[string]bool{}
	for u.next() == '"' {
		from := u.at
		u.str()
		name, inner := fieldOf(t, keyText(u.text[from:u.at]))
		here := strings.TrimPrefix(path+"."+clip(name), ".")
		if u.whole {
			if err := halved(u.text[from:u.at], here); err != nil {
				return err
			}
		} else if told[name] {
			return Invalid(here, "%q is told twice", here)
		}
		told[name] = true
		if !u.has(':') {
			return nil
		}
		if err := u.value(inner, here); err != nil {
			return err
		}
		u.has(',')
	}
	u.has('}')
	return nil
}

func (u *unique) list(t reflect.Type, path string) error {
	u.at++
	inner := reflect.TypeFor[any]()
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		inner = t.Elem()
	}
	for i := 0; u.next() != ']' && u.at < len(u.text); i++ {
		from := u.at
		if err := u.value(inner, path+"["+strconv.Itoa(i)+"]"); err != nil {
			return err
		}
		if !u.has(',') && u.at == from {
			return nil
		}
	}
	u.has(']')
	return nil
}

// skip steps over one value.
func (u *unique) skip() {
	depth := 0
	for ; u.at < len(u.text); u.at++ {
		switch u.text[u.at] {
		case '"':
			u.str()
			u.at--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return
			}
		case ',':
			if depth == 0 {
				return
			}
		}
	}
}

// str steps over a string.
func (u *unique) str() {
	for u.at++; u.at < len(u.text); u.at++ {
		switch u.text[u.at] {
		case '\\':
			u.at++
		case '"':
			u.at++
			return
		}
	}
	u.at = len(u.text)
}

// halved refuses a string that is not UTF-8, or in which an escape is half of a
// surrogate pair.
func halved(quoted []byte, path string) error {
	if !utf8.Valid(quoted) {
		return Invalid(path, "%s is not UTF-8", path)
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
			return Invalid(path, "%s holds half of a surrogate pair (\\u%04X): it is no text", path, n)
		case first:
			high = i + 5
		}
		i += 4
	}
	if high >= 0 {
		return Invalid(path, "%s holds half of a surrogate pair: it is no text", path)
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
	jsonReader = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func readsItself(t reflect.Type) bool {
	return t.Implements(jsonReader) || t.Implements(textReader) ||
		t.Kind() != reflect.Pointer && (reflect.PointerTo(t).Implements(jsonReader) || reflect.PointerTo(t).Implements(textReader))
}

// holdsKeys tells whether a value of t is built from JSON that may have
// objects in it.
func holdsKeys(t reflect.Type) bool {
	if readsItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Interface:
		return true
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return holdsKeys(t.Elem())
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
