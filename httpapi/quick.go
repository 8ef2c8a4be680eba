package httpapi

import (
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// quickSignIn reads the bodies that nearly all sign-ins have: known fields,
// each once, of plain ASCII text without escapes, small whole numbers, flat
// lists and objects. It returns false for everything else, right or wrong,
// which decodeStrict then judges; a test holds the two to each other. It takes
// a tenth of the time, and sign-ins are what a cluster does most.
func quickSignIn(body []byte, in *wire.SignIn) bool {
	q := quick{rest: body}
	var seen [9]bool
	once := func(field int) bool {
		again := seen[field]
		seen[field] = true
		return !again
	}
	ok := q.object(func(key string) bool {
		switch key {
		case "name":
			return once(0) && q.text(&in.Name)
		case "namespace":
			return once(1) && q.text(&in.Namespace)
		case "session":
			return once(2) && q.text(&in.Session)
		case "secret":
			return once(3) && q.text(&in.Secret)
		case "labels":
			in.Labels = map[string]string{}
			return once(4) && q.object(func(key string) bool {
				var value string
				_, again := in.Labels[key]
				ok := !again && q.text(&value)
				in.Labels[key] = value
				return ok
			})
		case "lease":
			var text string
			if !once(5) || !q.text(&text) {
				return false
			}
			d, err := time.ParseDuration(text)
			in.Lease = wire.Duration(d)
			return err == nil && d != 0
		case "runtimes":
			in.Runtimes = []string{}
			return once(6) && q.list(func() bool {
				var value string
				ok := q.text(&value)
				in.Runtimes = append(in.Runtimes, value)
				return ok
			})
		case "slots":
			return once(7) && q.number(&in.Slots)
		case "place":
			var host, group bool
			return once(8) && q.object(func(key string) bool {
				switch {
				case key == "host" && !host:
					host = true
					return q.text(&in.Place.Host)
				case key == "group" && !group:
					group = true
					return q.text(&in.Place.Group)
				}
				return false
			})
		}
		return false
	})
	q.blank()
	return ok && len(q.rest) == 0
}

// quick reads simple JSON; every method returns false for what it leaves to
// others.
type quick struct{ rest []byte }

func (q *quick) blank() {
	for len(q.rest) > 0 && (q.rest[0] == ' ' || q.rest[0] == '\n' || q.rest[0] == '\r' || q.rest[0] == '\t') {
		q.rest = q.rest[1:]
	}
}

// take reads one given character, after blanks.
func (q *quick) take(c byte) bool {
	q.blank()
	if len(q.rest) == 0 || q.rest[0] != c {
		return false
	}
	q.rest = q.rest[1:]
	return true
}

// text reads a string without escapes.
func (q *quick) text(into *string) bool {
	if !q.take('"') {
		return false
	}
	for i, c := range q.rest {
		switch {
		case c == '"':
			*into = string(q.rest[:i])
			q.rest = q.rest[i+1:]
			return true
		case c < 0x20 || c >= 0x7F || c == '\\':
			return false
		}
	}
	return false
}

// number reads a whole number of up to nine digits.
func (q *quick) number(into *int) bool {
	q.blank()
	n, i := 0, 0
	for ; i < len(q.rest) && q.rest[i] >= '0' && q.rest[i] <= '9'; i++ {
		n = n*10 + int(q.rest[i]-'0')
	}
	if i == 0 || i > 9 || i > 1 && q.rest[0] == '0' || i < len(q.rest) && (q.rest[i] == '.' || q.rest[i] == 'e' || q.rest[i] == 'E') {
		return false
	}
	*into, q.rest = n, q.rest[i:]
	return true
}

// object reads an object; field reads the value of one field.
func (q *quick) object(field func(key string) bool) bool {
	if !q.take('{') {
		return false
	}
	if q.take('}') {
		return true
	}
	for {
		var key string
		if !q.text(&key) || !q.take(':') || !field(key) {
			return false
		}
		if !q.take(',') {
			return q.take('}')
		}
	}
}

// list reads a list; element reads one of it.
func (q *quick) list(element func() bool) bool {
	if !q.take('[') {
		return false
	}
	if q.take(']') {
		return true
	}
	for element() {
		if !q.take(',') {
			return q.take(']')
		}
	}
	return false
}
