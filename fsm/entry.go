package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/wire"
)

// A command in the log is one line of JSON,
//
//	{"v":1,"kind":"registry.sign_in","at":"2026-11-02T15:04:05.123Z","by":"n1","body":{...}}
//
// with these fields in this order and no blanks between them, as Encode writes
// it. A command that a token asks for names it behind by, with the rights that
// the token must have when the command is carried out (level 2):
//
//	..."by":"n1","token":"t_1f","needs":["components:write@n1"],"body":{...}}
//
// It is read by its layout, which is several times faster than by its grammar,
// and leaves no two ways to read one line. Fields of the body may be added with a
// new level only: an older binary stops at a field it does not know.
//
// v 1: the first release, 2026-11.
const (
	prefixKind  = `{"v":1,"kind":"`
	prefixAt    = `","at":"`
	prefixBy    = `","by":`
	prefixToken = `,"token":`
	prefixNeeds = `,"needs":[`
	prefixBody  = `,"body":`
)

// maxDepth bounds the nesting in a body, so that whatever holds a part of it
// can be decoded anywhere.
const maxDepth = 500

// Author is who asks for a command.
type Author struct {
	By string // a label
	// Token is the id of the token in the state that asks; "" is none: the command
	// is the system's own, or the token is not of the state.
	Token string
	// Needs are the rights that Token must have when the command is carried out.
	// Without a Token they are not asked for.
	Needs access.Grants
}

// Validate says what is wrong with the body of a command by the limits of this
// binary. Whoever proposes a command asks first; what is in the log is carried
// out whatever they are. The error is a *wire.Error of code invalid or too_large.
func Validate(body any) error {
	if v, ok := body.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Encode writes one command, without a line end. at is the proposer's clock, a
// label. The error is a *wire.Error of code invalid or too_large.
func Encode(kind string, at time.Time, author Author, body any) ([]byte, error) {
	if author.Token != "" && (!isVerbatim(author.Token) || len(author.Token) > wire.MaxName) {
		return nil, wire.Invalid("token", "%.80q is no id of a token", author.Token)
	}
	if line, ok := encodeFast(kind, at, author, body); ok {
		return line, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	line := struct {
		V     int           `json:"v"`
		Kind  string        `json:"kind"`
		At    time.Time     `json:"at"`
		By    string        `json:"by"`
		Token string        `json:"token,omitempty"`
		Needs access.Grants `json:"needs,omitempty"`
		Body  any           `json:"body"`
	}{1, kind, at.Round(0).UTC(), author.By, author.Token, author.Needs, body}
	if author.Token == "" {
		line.Needs = nil
	}
	err := enc.Encode(line)
	if err != nil {
		return nil, wire.Invalid("body", "encode command %s: %v", kind, err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(text) > wire.MaxCommand {
		return nil, errTooLarge(len(text))
	}
	return text, nil
}

// encodeFast is Encode for a command that writes its usual layout itself.
func encodeFast(kind string, at time.Time, author Author, body any) ([]byte, bool) {
	q, ok := body.(interface{ AppendFast(b []byte) ([]byte, bool) })
	if !ok || !isVerbatim(author.By) {
		return nil, false
	}
	room := lineBuffers.Get().(*[]byte)
	defer lineBuffers.Put(room)
	b := append((*room)[:0], prefixKind...)
	b = append(b, kind...)
	b = at.Round(0).UTC().AppendFormat(append(b, prefixAt...), time.RFC3339Nano)
	b = append(append(append(b, prefixBy...), '"'), author.By...)
	b = append(b, '"')
	if author.Token != "" {
		if b, ok = appendToken(b, author); !ok {
			return nil, false
		}
	}
	b = append(b, prefixBody...)
	if b, ok = q.AppendFast(b); !ok || len(b) >= wire.MaxCommand {
		return nil, false
	}
	if b = append(b, '}'); cap(b) <= maxPooled {
		*room = b
	}
	return bytes.Clone(b), true
}

// appendToken writes what a token adds to the envelope.
func appendToken(b []byte, author Author) ([]byte, bool) {
	b = append(append(append(b, prefixToken...), '"'), author.Token...)
	b = append(b, '"')
	for i, need := range author.Needs {
		if i == 0 {
			b = append(b, prefixNeeds...)
		} else {
			b = append(b, ',')
		}
		if !isVerbatim(need.Namespace) {
			return nil, false
		}
		b = append(append(b, '"'), need.Right...)
		if need.Namespace != "" {
			b = append(append(b, '@'), need.Namespace...)
		}
		b = append(b, '"')
	}
	if len(author.Needs) > 0 {
		b = append(b, ']')
	}
	return b, true
}

// isVerbatim reports whether s is written in JSON as it is.
func isVerbatim(s string) bool { return isPlain([]byte(s)) && strings.IndexByte(s, '"') < 0 }

// lineBuffers have room to write a command in, so that the command itself, which
// stays for a while, takes no more than it needs.
var lineBuffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled bounds what is kept to write in.
const maxPooled = 64 << 10

func errTooLarge(n int) *wire.Error {
	return wire.Refuse(wire.CodeTooLarge, "a command of %d bytes is above the limit of %d: do less at once", n, wire.MaxCommand)
}

// entry is one command, read but for its body.
type entry struct {
	kind  []byte
	at    time.Time
	token []byte // id; empty: none
	needs []byte // the JSON strings between the brackets
	body  []byte
}

// parse reads the envelope of one line.
func parse(line []byte) (e entry, err error) {
	rest, ok := bytes.CutPrefix(line, []byte(prefixKind))
	if !ok {
		return e, errNotCommand(line)
	}
	var at []byte
	if e.kind, rest, ok = bytes.Cut(rest, []byte(prefixAt)); !ok {
		return e, errNotCommand(line)
	}
	if at, rest, ok = bytes.Cut(rest, []byte(prefixBy)); !ok {
		return e, errNotCommand(line)
	}
	if e.at, err = time.Parse(time.RFC3339Nano, string(at)); err != nil {
		return e, fmt.Errorf("time: %w", err)
	}
	// Years beyond these cannot be written again in UTC.
	if e.at = e.at.UTC(); e.at.Year() < 1 || e.at.Year() > 9999 {
		return e, fmt.Errorf("time: year %d", e.at.Year())
	}
	n := stringEnd(rest)
	if n < 0 || !isPlain(rest[:n]) && !json.Valid(rest[:n]) {
		return e, errNotCommand(line)
	}
	if rest = rest[n:]; bytes.HasPrefix(rest, []byte(prefixToken)) {
		if rest, ok = e.parseToken(rest[len(prefixToken):]); !ok {
			return e, errNotCommand(line)
		}
	}
	body, ok := bytes.CutPrefix(rest, []byte(prefixBody))
	if !ok || len(body) < 3 || body[0] != '{' || body[len(body)-1] != '}' {
		return e, errNotCommand(line)
	}
	e.body = body[:len(body)-1]
	return e, nil
}

// parseToken reads the token's id and what it needs, and returns what comes behind.
func (e *entry) parseToken(b []byte) (rest []byte, ok bool) {
	n := stringEnd(b)
	if n < 0 {
		return nil, false
	}
	if e.token = b[1 : n-1]; len(e.token) == 0 || !isPlain(e.token) {
		return nil, false
	}
	rest, ok = bytes.CutPrefix(b[n:], []byte(prefixNeeds))
	if !ok {
		return rest, true
	}
	end := 0
	for {
		n := stringEnd(rest[end:])
		if n < 0 {
			return nil, false
		}
		if end += n; end == len(rest) {
			return nil, false
		}
		switch rest[end] {
		case ',':
			end++
		case ']':
			e.needs = rest[:end]
			return rest[end+1:], true
		default:
			return nil, false
		}
	}
}

// eachNeed calls do with each right that the command needs until it answers
// false. An error means that one is no right which this binary knows.
func (e *entry) eachNeed(do func(access.Grant) bool) error {
	for rest := e.needs; len(rest) > 0; {
		n := stringEnd(rest)
		text := rest[1 : n-1]
		if !isPlain(text) {
			var s string
			if err := json.Unmarshal(rest[:n], &s); err != nil {
				return fmt.Errorf("needs: %w", err)
			}
			text = []byte(s)
		}
		var g access.Grant
		if err := g.UnmarshalText(text); err != nil {
			return fmt.Errorf("needs: %w", err)
		}
		if !do(g) {
			return nil
		}
		rest = bytes.TrimPrefix(rest[n:], []byte{','})
	}
	return nil
}

func errNotCommand(line []byte) error {
	var other struct {
		V int `json:"v"`
	}
	if json.Unmarshal(line, &other) == nil && other.V > 1 {
		return fmt.Errorf("a command of format %d: this binary is too old", other.V)
	}
	return fmt.Errorf("not a command: %.40q", line)
}

// stringEnd returns the length of the JSON string b begins with, or -1.
func stringEnd(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return -1
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func isPlain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7E || c == '\\' {
			return false
		}
	}
	return true
}

// isCompact reports whether b, if it is JSON at all, has no blanks between its
// tokens and no nesting beyond maxDepth. Tables may keep pieces of a body as
// they came; a snapshot writes them compact, and both must be the same bytes.
func isCompact(b []byte) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			n := stringEnd(b[i:])
			if n < 0 {
				return false
			}
			i += n - 1
		case ' ', '\t', '\n', '\r':
			return false
		case '{', '[':
			if depth++; depth > maxDepth {
				return false
			}
		case '}', ']':
			depth--
		}
	}
	return true
}

// decodeBody is decodeStrict for the body of a command. A frequent command
// reads its usual layout itself.
func decodeBody(body []byte, into any) error {
	if q, ok := into.(interface{ DecodeFast(body []byte) bool }); ok {
		if q.DecodeFast(body) {
			return nil
		}
		reset(into)
	}
	if !isCompact(body) {
		return fmt.Errorf("body has blanks between its tokens or is nested deeper than %d", maxDepth)
	}
	return decodeStrict(body, into)
}

// reset empties what a DecodeFast that gave up has spoilt.
func reset(into any) { reflect.ValueOf(into).Elem().SetZero() }

// decodeStrict decodes exactly one JSON value. A field that into does not know
// is an error. Nothing of b is kept.
func decodeStrict(b []byte, into any) error {
	d := decoders.Get().(*decoder)
	start := d.json.InputOffset()
	d.rest = b
	if err := d.json.Decode(into); err != nil {
		return err // and the decoder is dropped: it never recovers
	}
	if n := d.json.InputOffset() - start; n != int64(len(b)) {
		return fmt.Errorf("%d bytes after the value", int64(len(b))-n)
	}
	decoders.Put(d)
	return nil
}

// decoder is a json.Decoder that is fed one value after the other, which
// spares json.Unmarshal's second look at every byte.
type decoder struct {
	json *json.Decoder
	rest []byte
}

var decoders = sync.Pool{New: func() any {
	d := new(decoder)
	d.json = json.NewDecoder(d)
	d.json.DisallowUnknownFields()
	return d
}}

func (d *decoder) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}
