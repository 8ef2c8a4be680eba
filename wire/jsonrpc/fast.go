package jsonrpc

import (
	"encoding/json"
	"strconv"
)

// The requests that sessions send most often are read and answered without
// reflection, in their usual shape: known members, once each, in any order,
// strings of plain ASCII without escapes. All else is declined, for
// encoding/json to judge, so that nobody can tell which of the two was at work.
// No further types are read like this.

// fastReader reads JSON of the usual shape. Once failed is set, nothing that was
// read counts.
type fastReader struct {
	text   string
	at     int
	failed bool
}

func (r *fastReader) skipBlanks() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

// accept consumes c if it comes next.
func (r *fastReader) accept(c byte) bool {
	r.skipBlanks()
	if r.failed || r.at == len(r.text) || r.text[r.at] != c {
		return false
	}
	r.at++
	return true
}

// expect consumes c, which must come next.
func (r *fastReader) expect(c byte) { r.failed = !r.accept(c) || r.failed }

// element advances to the next of the elements up to end and reports whether there
// is one; n counts them.
func (r *fastReader) element(n *int, end byte) bool {
	if r.failed || r.accept(end) {
		return false
	}
	if *n++; *n > 1 {
		r.expect(',')
	}
	return !r.failed
}

// first declines a member that was seen before.
func (r *fastReader) first(seen *uint, member uint) {
	r.failed = r.failed || *seen&member != 0
	*seen |= member
}

// key reads the name of a member and its colon.
func (r *fastReader) key() string {
	k := r.str()
	r.expect(':')
	return k
}

// str reads a string.
func (r *fastReader) str() string {
	if r.expect('"'); r.failed {
		return ""
	}
	rest := r.text[r.at:]
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			r.at += i + 1
			return rest[:i]
		case c < 0x20 || c > 0x7E || c == '\\':
			r.failed = true
			return ""
		}
	}
	r.failed = true
	return ""
}

// integer reads an integer of at most 18 digits.
func (r *fastReader) integer() int {
	r.skipBlanks()
	i := r.at
	if i < len(r.text) && r.text[i] == '-' {
		i++
	}
	from := i
	for i < len(r.text) && r.text[i] >= '0' && r.text[i] <= '9' {
		i++
	}
	if n := i - from; n == 0 || n > 18 || n > 1 && r.text[from] == '0' {
		r.failed = true
		return 0
	}
	v, err := strconv.Atoi(r.text[r.at:i])
	r.failed = r.failed || err != nil
	r.at = i
	return v
}

// id reads an integer or a string and returns it as it is in content.
func (r *fastReader) id(content []byte) json.RawMessage {
	r.skipBlanks()
	from := r.at
	if r.at < len(r.text) && r.text[r.at] == '"' {
		r.str()
	} else {
		r.integer()
	}
	return json.RawMessage(content[from:r.at:r.at])
}

// complete reports whether the whole text was read and of the usual shape.
func (r *fastReader) complete() bool {
	r.skipBlanks()
	return !r.failed && r.at == len(r.text)
}

// AppendDone appends the JSON-RPC answer to the request with that id whose
// result is null, as encoding/json writes it. ok is false, and dst as it was,
// when that is left to encoding/json.
func AppendDone(dst []byte, id json.RawMessage) (answer []byte, ok bool) {
	if !isPlainID(id) {
		return dst, false
	}
	dst = append(append(dst, `{"id":`...), id...)
	return append(dst, `,"result":null,"jsonrpc":"2.0"}`...), true
}

// isPlainID reports whether encoding/json writes an id unchanged: an integer or a
// string of plain ASCII.
func isPlainID(id json.RawMessage) bool {
	n := len(id)
	if n > 1 && id[0] == '"' && id[n-1] == '"' {
		return needsNoEscape(id[1 : n-1])
	}
	if n == 0 || n > 32 || id[0] <= ' ' {
		return false
	}
	r := fastReader{text: string(id)}
	r.integer()
	return !r.failed && r.at == n
}

// needsNoEscape reports whether encoding/json writes a string without escapes.
func needsNoEscape[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7E || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
