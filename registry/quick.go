package registry

import (
	"strconv"
	"strings"
	"time"
)

// Quick reads a sign-in that is written as fsm.Encode writes the usual ones:
// members in their order, no blanks, plain ASCII without escapes. It answers
// false, with c spoilt, for everything else, which encoding/json then reads.
// What it reads it reads as encoding/json does; it spares the most frequent
// command of the log most of its decoding, at every coordinator.
func (c *SignIn) Quick(body []byte) bool {
	s := scanner{rest: string(body)} // of which newSession copies what it keeps, but for what is copied here
	s.open('{')
	c.Name = s.text(`"name":`)
	c.Namespace = s.text(`,"namespace":`)
	c.Session = s.text(`,"session":`)
	c.SecretHash = s.text(`,"secret_hash":`)
	c.Home = s.text(`,"home":`)
	if s.has(`,"kind":`) {
		c.Kind = intern(s.quoted())
	}
	if s.has(`,"labels":{`) {
		c.Labels = make(map[string]string, 1)
		for more := true; more && !s.bad; more = s.has(",") {
			k := strings.Clone(s.quoted())
			s.open(':')
			c.Labels[k] = strings.Clone(s.quoted())
		}
		s.open('}')
	}
	if s.has(`,"place":{`) {
		first := s.has(`"host":`)
		if first {
			c.Place.Host = strings.Clone(s.quoted())
		}
		if first && s.has(`,"group":`) || !first && s.has(`"group":`) {
			c.Place.Group = strings.Clone(s.quoted())
		}
		s.open('}')
	}
	if s.has(`,"lease":`) {
		c.Lease = time.Duration(s.number())
	}
	if s.has(`,"runtimes":[`) {
		for more := true; more && !s.bad; more = s.has(",") {
			c.Runtimes = append(c.Runtimes, strings.Clone(s.quoted()))
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
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7E || c == '\\' {
			s.bad = true
			return ""
		}
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
