package jsonrpc

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// ParseSignIn parses a request for sign_in that has an id. The answers
// are what encoding/json would make of it, unknown members refused. id aliases
// content. ok is false when it is declined.
func ParseSignIn(content []byte) (id json.RawMessage, h wire.Hello, ok bool) {
	r := fastReader{text: string(content)}
	var seen uint
	r.expect('{')
	for n := 0; r.element(&n, '}'); {
		switch r.key() {
		case "id":
			r.first(&seen, 1)
			id = r.id(content)
		case "method":
			r.first(&seen, 2)
			r.failed = r.str() != "sign_in" || r.failed
		case "params":
			r.first(&seen, 4)
			r.hello(&h)
		case "jsonrpc":
			r.first(&seen, 8)
			r.str()
		default:
			r.failed = true
		}
	}
	if !r.complete() || seen&7 != 7 {
		return nil, wire.Hello{}, false
	}
	return id, h, true
}

// ParseSignInParams parses the params of a sign-in alone, as REST has them in a
// body. ok is false when they are declined: also a lease or slots that REST
// judges, and what only native sessions say.
func ParseSignInParams(body []byte) (in wire.SignIn, ok bool) {
	r := fastReader{text: string(body)}
	var h wire.Hello
	seen := r.hello(&h)
	if !r.complete() || seen&(helloKey|helloToken|helloAddress) != 0 || seen&helloLease != 0 && h.Lease == 0 || h.Slots < 0 || h.Slots > 999_999_999 {
		return wire.SignIn{}, false
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

func (r *fastReader) hello(h *wire.Hello) (seen uint) {
	r.expect('{')
	for n := 0; r.element(&n, '}'); {
		switch r.key() {
		case "name":
			r.first(&seen, 1)
			h.Name = r.str()
		case "namespace":
			r.first(&seen, 2)
			h.Namespace = r.str()
		case "session":
			r.first(&seen, 4)
			h.Session = r.str()
		case "secret":
			r.first(&seen, 8)
			h.Secret = r.str()
		case "labels":
			r.first(&seen, 16)
			h.Labels = map[string]string{}
			r.expect('{')
			for n := 0; r.element(&n, '}'); {
				k := r.key()
				_, again := h.Labels[k]
				r.failed = r.failed || again
				h.Labels[k] = r.str()
			}
		case "place":
			r.first(&seen, 32)
			r.place(&h.Place)
		case "lease":
			r.first(&seen, helloLease)
			d, err := time.ParseDuration(r.str())
			h.Lease, r.failed = wire.Duration(d), r.failed || err != nil
		case "runtimes":
			r.first(&seen, 128)
			h.Runtimes = []string{}
			r.expect('[')
			for n := 0; r.element(&n, ']'); {
				h.Runtimes = append(h.Runtimes, r.str())
			}
		case "slots":
			r.first(&seen, 256)
			h.Slots = r.integer()
		case "key":
			r.first(&seen, helloKey)
			h.Key = r.str()
		case "token":
			r.first(&seen, helloToken)
			h.Token = r.str()
		case "attempt":
			r.first(&seen, 2048)
			n := r.integer()
			h.Attempt, r.failed = uint64(max(n, 0)), r.failed || n < 0
		case "address":
			r.first(&seen, helloAddress)
			h.Address = r.str()
		default:
			r.failed = true
		}
	}
	return seen
}

func (r *fastReader) place(to *wire.Place) {
	var seen uint
	r.expect('{')
	for n := 0; r.element(&n, '}'); {
		switch r.key() {
		case "host":
			r.first(&seen, 1)
			to.Host = r.str()
		case "group":
			r.first(&seen, 2)
			to.Group = r.str()
		default:
			r.failed = true
		}
	}
}

// AppendWelcome appends the JSON-RPC answer to the sign_in with that id, as
// encoding/json writes it. ok is false, and dst as it was, when that is left
// to encoding/json.
func AppendWelcome(dst []byte, id json.RawMessage, w *wire.Welcome) (answer []byte, ok bool) {
	if !isPlainID(id) || w.Coordinators == nil {
		return dst, false
	}
	b := append(append(dst, `{"id":`...), id...)
	ok = true
	add := func(member, text string) {
		ok = ok && needsNoEscape(text)
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

// EncodeWelcome returns the response to the sign_in with that id as JSON.
func EncodeWelcome(id json.RawMessage, w *wire.Welcome) ([]byte, error) {
	if b, ok := AppendWelcome(make([]byte, 0, 512), id, w); ok {
		return b, nil
	}
	r := Response{ID: id, Result: w}
	return r.Encode()
}
