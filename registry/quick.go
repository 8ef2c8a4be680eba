package registry

import (
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Quick reads a sign-in that is written as fsm.Encode writes the usual ones:
// members in their order, no blanks, plain ASCII without escapes. It answers
// false, with c spoilt, for everything else, which encoding/json then reads.
// What it reads it reads as encoding/json does; it spares the most frequent
// command of the log most of its decoding, at every coordinator.
func (c *SignIn) Quick(body []byte) bool {
	s := scanner{rest: string(body)} // of which newSession copies what it keeps
	s.open('{')
	c.Name = s.text(`"name":`)
	c.Namespace = s.text(`,"namespace":`)
	c.Session = s.text(`,"session":`)
	c.SecretHash = s.text(`,"secret_hash":`)
	c.Home = s.text(`,"home":`)
	if s.has(`,"kind":`) {
		c.Kind = s.quoted()
	}
	if s.has(`,"labels":{`) {
		for more := true; more && !s.bad; more = s.has(",") {
			k := s.quoted()
			s.open(':')
			if n := len(c.Labels); n > 0 && c.Labels[n-1].Key >= k {
				return false // out of order
			}
			c.Labels = append(c.Labels, Label{k, s.quoted()})
		}
		s.open('}')
	}
	if s.has(`,"place":{`) {
		first := s.has(`"host":`)
		if first {
			c.Place.Host = s.quoted()
		}
		if first && s.has(`,"group":`) || !first && s.has(`"group":`) {
			c.Place.Group = s.quoted()
		}
		s.open('}')
	}
	if s.has(`,"lease":`) {
		c.Lease = time.Duration(s.number())
	}
	if s.has(`,"runtimes":[`) {
		for more := true; more && !s.bad; more = s.has(",") {
			c.Runtimes = append(c.Runtimes, s.quoted())
		}
		s.open(']')
	}
	if s.has(`,"slots":`) {
		c.Slots = int(s.number())
	}
	if s.has(`,"take_over":true`) {
		c.TakeOver = true
	}
	s.open('}')
	return !s.bad && len(s.rest) == 0
}

// AppendQuick writes what encoding/json would, or answers false for a command
// with text that needs escapes. It is the other half of Quick.
func (c SignIn) AppendQuick(b []byte) ([]byte, bool) {
	w := writer{b: append(b, '{')}
	w.text(`"name":`, c.Name)
	w.text(`,"namespace":`, c.Namespace)
	w.text(`,"session":`, c.Session)
	w.text(`,"secret_hash":`, c.SecretHash)
	w.text(`,"home":`, c.Home)
	if c.Kind != "" {
		w.text(`,"kind":`, c.Kind)
	}
	if len(c.Labels) > 0 {
		w.raw(`,"labels":{`)
		for i, l := range c.Labels {
			if i > 0 {
				w.raw(`,`)
			}
			w.text("", l.Key)
			w.text(":", l.Value)
		}
		w.raw(`}`)
	}
	if c.Place != (wire.Place{}) {
		w.raw(`,"place":{`)
		if c.Place.Host != "" {
			w.text(`"host":`, c.Place.Host)
		}
		if c.Place.Host != "" && c.Place.Group != "" {
			w.raw(`,`)
		}
		if c.Place.Group != "" {
			w.text(`"group":`, c.Place.Group)
		}
		w.raw(`}`)
	}
	if c.Lease != 0 {
		w.number(`,"lease":`, int64(c.Lease))
	}
	if len(c.Runtimes) > 0 {
		w.raw(`,"runtimes":[`)
		for i, r := range c.Runtimes {
			if i > 0 {
				w.raw(`,`)
			}
			w.text("", r)
		}
		w.raw(`]`)
	}
	if c.Slots != 0 {
		w.number(`,"slots":`, int64(c.Slots))
	}
	if c.TakeOver {
		w.raw(`,"take_over":true`)
	}
	w.raw(`}`)
	return w.b, !w.bad
}

// Quick reads a sign-out as SignIn.Quick reads a sign-in: the other half of
// what sessions write.
func (c *SignOut) Quick(body []byte) bool {
	s := scanner{rest: string(body)} // of which Table.SignOut keeps nothing
	s.open('{')
	c.FullName = s.text(`"full_name":`)
	c.Session = s.text(`,"session":`)
	s.open('}')
	return !s.bad && len(s.rest) == 0
}

// AppendQuick is the other half of Quick, as SignIn.AppendQuick is.
func (c SignOut) AppendQuick(b []byte) ([]byte, bool) {
	w := writer{b: append(b, '{')}
	w.text(`"full_name":`, c.FullName)
	w.text(`,"session":`, c.Session)
	w.raw(`}`)
	return w.b, !w.bad
}

// writer writes the one layout Quick knows; bad is for ever.
type writer struct {
	b   []byte
	bad bool
}

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) text(member, s string) {
	w.bad = w.bad || !simple(s)
	w.b = append(append(w.b, member...), '"')
	w.b = append(append(w.b, s...), '"')
}

func (w *writer) number(member string, n int64) {
	w.b = strconv.AppendInt(append(w.b, member...), n, 10)
}

// simple tells whether s is written in JSON as it is.
func simple(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7E || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// scanner reads the one layout Quick knows; bad is for ever.
type scanner struct {
	rest string
	bad  bool
}

func (s *scanner) has(text string) bool {
	if s.bad || len(s.rest) < len(text) || s.rest[:len(text)] != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scanner) open(c byte) {
	if len(s.rest) == 0 || s.rest[0] != c {
		s.bad = true
		return
	}
	s.rest = s.rest[1:]
}

func (s *scanner) text(member string) string {
	if !s.has(member) {
		s.bad = true
		return ""
	}
	return s.quoted()
}

func (s *scanner) quoted() string {
	if s.bad || len(s.rest) == 0 || s.rest[0] != '"' {
		s.bad = true
		return ""
	}
	n := strings.IndexByte(s.rest[1:], '"')
	if n < 0 {
		s.bad = true
		return ""
	}
	text := s.rest[1 : 1+n]
	if !simple(text) {
		s.bad = true
		return ""
	}
	s.rest = s.rest[n+2:]
	return text
}

// number reads a whole number of at most 18 digits, as JSON writes it.
func (s *scanner) number() int64 {
	n := 0
	for n < len(s.rest) && n < 19 && (s.rest[n] >= '0' && s.rest[n] <= '9' || n == 0 && s.rest[n] == '-') {
		n++
	}
	digits := s.rest[:n]
	if n > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		s.bad = true
		return 0
	}
	v, err := strconv.ParseInt(s.rest[:n], 10, 64)
	if err != nil {
		s.bad = true
	}
	s.rest = s.rest[n:]
	return v
}

// intern returns a text of its own that is k: the same for the usual kinds.
func intern(k string) string {
	switch k {
	case "rest":
		return "rest"
	case "native":
		return "native"
	case "leco":
		return "leco"
	}
	return strings.Clone(k)
}
