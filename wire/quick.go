package wire

import (
	"encoding/json"
	"strconv"
	"time"
)

// What native sessions ask of COORDINATOR most often is read and written here
// without reflection, in its usual shape: known members, once each, in any
// order, texts of plain ASCII without escapes. All else is declined, for
// encoding/json to judge, so that nobody can tell which of the two was at work.

// maxPlain is how long a request without params may be to be looked at.
const maxPlain = 512

// ParsePlain reads a JSON-RPC request whose params are missing or {}. The
// answers are what encoding/json would make of the members; id is nil when it
// is missing. id and params alias content. ok is false when it is declined.
func ParsePlain(content []byte) (id json.RawMessage, method string, params json.RawMessage, ok bool) {
	if len(content) > maxPlain {
		return nil, "", nil, false
	}
	p := plain{text: string(content)}
	var seen uint
	p.open('{')
	for n := 0; p.more(&n, '}'); {
		switch p.key() {
		case "id":
			p.once(&seen, 1)
			id = p.id(content)
		case "method":
			p.once(&seen, 2)
			method = p.quoted()
		case "params":
			p.once(&seen, 4)
			p.blank()
			from := p.at
			p.open('{')
			p.open('}')
			params = content[from:p.at:p.at]
		case "jsonrpc":
			p.once(&seen, 8)
			p.quoted()
		default:
			p.bad = true
		}
	}
	if !p.ended() {
		return nil, "", nil, false
	}
	return id, method, params, true
}

// ParseSignIn reads a JSON-RPC request for sign_in that has an id. The answers
// are what encoding/json would make of it, unknown members refused. id aliases
// content. ok is false when it is declined.
func ParseSignIn(content []byte) (id json.RawMessage, h Hello, ok bool) {
	p := plain{text: string(content)}
	var seen uint
	p.open('{')
	for n := 0; p.more(&n, '}'); {
		switch p.key() {
		case "id":
			p.once(&seen, 1)
			id = p.id(content)
		case "method":
			p.once(&seen, 2)
			p.bad = p.quoted() != "sign_in" || p.bad
		case "params":
			p.once(&seen, 4)
			p.hello(&h)
		case "jsonrpc":
			p.once(&seen, 8)
			p.quoted()
		default:
			p.bad = true
		}
	}
	if !p.ended() || seen&7 != 7 {
		return nil, Hello{}, false
	}
	return id, h, true
}

// ParseSignInBody reads the params of a sign-in alone, as REST has them in a
// body. ok is false when they are declined: also a lease or slots that REST
// judges, and what only native sessions say.
func ParseSignInBody(body []byte) (in SignIn, ok bool) {
	p := plain{text: string(body)}
	var h Hello
	seen := p.hello(&h)
	if !p.ended() || seen&(helloKey|helloToken|helloAddress) != 0 || seen&helloLease != 0 && h.Lease == 0 || h.Slots < 0 || h.Slots > 999_999_999 {
		return SignIn{}, false
	}
	return h.SignIn, true
}

// What hello has seen that others ask about.
const (
	helloLease   = 64
	helloKey     = 512
	helloToken   = 1024
	helloAddress = 4096
)

func (p *plain) hello(h *Hello) (seen uint) {
	p.open('{')
	for n := 0; p.more(&n, '}'); {
		switch p.key() {
		case "name":
			p.once(&seen, 1)
			h.Name = p.quoted()
		case "namespace":
			p.once(&seen, 2)
			h.Namespace = p.quoted()
		case "session":
			p.once(&seen, 4)
			h.Session = p.quoted()
		case "secret":
			p.once(&seen, 8)
			h.Secret = p.quoted()
		case "labels":
			p.once(&seen, 16)
			h.Labels = map[string]string{}
			p.open('{')
			for n := 0; p.more(&n, '}'); {
				k := p.key()
				_, again := h.Labels[k]
				p.bad = p.bad || again
				h.Labels[k] = p.quoted()
			}
		case "place":
			p.once(&seen, 32)
			p.place(&h.Place)
		case "lease":
			p.once(&seen, helloLease)
			d, err := time.ParseDuration(p.quoted())
			h.Lease, p.bad = Duration(d), p.bad || err != nil
		case "runtimes":
			p.once(&seen, 128)
			h.Runtimes = []string{}
			p.open('[')
			for n := 0; p.more(&n, ']'); {
				h.Runtimes = append(h.Runtimes, p.quoted())
			}
		case "slots":
			p.once(&seen, 256)
			h.Slots = p.whole()
		case "key":
			p.once(&seen, helloKey)
			h.Key = p.quoted()
		case "token":
			p.once(&seen, helloToken)
			h.Token = p.quoted()
		case "attempt":
			p.once(&seen, 2048)
			n := p.whole()
			h.Attempt, p.bad = uint64(max(n, 0)), p.bad || n < 0
		case "address":
			p.once(&seen, helloAddress)
			h.Address = p.quoted()
		default:
			p.bad = true
		}
	}
	return seen
}

func (p *plain) place(to *Place) {
	var seen uint
	p.open('{')
	for n := 0; p.more(&n, '}'); {
		switch p.key() {
		case "host":
			p.once(&seen, 1)
			to.Host = p.quoted()
		case "group":
			p.once(&seen, 2)
			to.Group = p.quoted()
		default:
			p.bad = true
		}
	}
}

// plain reads plain JSON; bad is for ever, and then nothing that was read
// counts.
type plain struct {
	text string
	at   int
	bad  bool
}

func (p *plain) blank() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// has steps over c, if it comes next.
func (p *plain) has(c byte) bool {
	p.blank()
	if p.bad || p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

func (p *plain) open(c byte) { p.bad = !p.has(c) || p.bad }

// more steps to the next of the elements up to end and tells whether there is
// one; n counts them.
func (p *plain) more(n *int, end byte) bool {
	if p.bad || p.has(end) {
		return false
	}
	if *n++; *n > 1 {
		p.open(',')
	}
	return !p.bad
}

// once declines what was seen before.
func (p *plain) once(seen *uint, what uint) {
	p.bad = p.bad || *seen&what != 0
	*seen |= what
}

func (p *plain) key() string {
	k := p.quoted()
	p.open(':')
	return k
}

func (p *plain) quoted() string {
	if p.open('"'); p.bad {
		return ""
	}
	rest := p.text[p.at:]
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			p.at += i + 1
			return rest[:i]
		case c < 0x20 || c > 0x7E || c == '\\':
			p.bad = true
			return ""
		}
	}
	p.bad = true
	return ""
}

// whole reads a whole number of at most 18 digits.
func (p *plain) whole() int {
	p.blank()
	i := p.at
	if i < len(p.text) && p.text[i] == '-' {
		i++
	}
	from := i
	for i < len(p.text) && p.text[i] >= '0' && p.text[i] <= '9' {
		i++
	}
	if n := i - from; n == 0 || n > 18 || n > 1 && p.text[from] == '0' {
		p.bad = true
		return 0
	}
	v, err := strconv.Atoi(p.text[p.at:i])
	p.bad = p.bad || err != nil
	p.at = i
	return v
}

// id reads a whole number or a text and returns it as it is in content.
func (p *plain) id(content []byte) json.RawMessage {
	p.blank()
	from := p.at
	if p.at < len(p.text) && p.text[p.at] == '"' {
		p.quoted()
	} else {
		p.whole()
	}
	return json.RawMessage(content[from:p.at:p.at])
}

// ended tells whether all was read and plain.
func (p *plain) ended() bool {
	p.blank()
	return !p.bad && p.at == len(p.text)
}

// AppendDone appends the JSON-RPC answer to the request with that id whose
// result is null, as encoding/json writes it. ok is false, and dst as it was,
// when that is left to encoding/json.
func AppendDone(dst []byte, id json.RawMessage) (answer []byte, ok bool) {
	if !asItIs(id) {
		return dst, false
	}
	dst = append(append(dst, `{"id":`...), id...)
	return append(dst, `,"result":null,"jsonrpc":"2.0"}`...), true
}

// AppendWelcome appends the JSON-RPC answer to the sign_in with that id, as
// encoding/json writes it. ok is false, and dst as it was, when that is left
// to encoding/json.
func AppendWelcome(dst []byte, id json.RawMessage, w *Welcome) (answer []byte, ok bool) {
	if !asItIs(id) || w.Coordinators == nil {
		return dst, false
	}
	b := append(append(dst, `{"id":`...), id...)
	ok = true
	add := func(member, text string) {
		ok = ok && unescaped(text)
		b = append(append(append(append(b, member...), '"'), text...), '"')
	}
	add(`,"result":{"full_name":`, w.FullName)
	add(`,"session":`, w.Session)
	add(`,"secret":`, w.Secret)
	add(`,"namespace":`, w.Namespace)
	add(`,"home":`, w.Home)
	add(`,"lease":`, time.Duration(w.Lease).String())
	b = strconv.AppendUint(append(b, `,"index":`...), w.Index, 10)
	if w.Attempt != 0 {
		b = strconv.AppendUint(append(b, `,"attempt":`...), w.Attempt, 10)
	}
	b = strconv.AppendBool(append(b, `,"resumed":`...), w.Resumed)
	b = append(b, `,"coordinators":[`...)
	for i := range w.Coordinators {
		if i > 0 {
			b = append(b, ',')
		}
		d := &w.Coordinators[i]
		add(`{"id":`, d.ID)
		add(`,"namespace":`, d.Namespace)
		add(`,"address":`, d.Address)
		b = append(b, '}')
	}
	if !ok {
		return dst, false
	}
	return append(b, `]},"jsonrpc":"2.0"}`...), true
}

// asItIs tells whether encoding/json writes an id as it is: a whole number or a
// text of plain ASCII.
func asItIs(id json.RawMessage) bool {
	n := len(id)
	if n > 1 && id[0] == '"' && id[n-1] == '"' {
		return unescaped(id[1 : n-1])
	}
	if n == 0 || n > 32 || id[0] <= ' ' {
		return false
	}
	p := plain{text: string(id)}
	p.whole()
	return !p.bad && p.at == n
}

// unescaped tells whether encoding/json writes a text without escapes.
func unescaped[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7E || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
