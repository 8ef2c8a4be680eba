package registry

import (
	"bytes"
	"strconv"
	"time"
)

// Quick reads a sign-in that is written as fsm.Encode writes the usual ones:
// members in their order, no blanks, plain ASCII without escapes. It answers
// false, with c spoilt, for everything else, which encoding/json then reads.
// What it reads it reads as encoding/json does; it spares the most frequent
// command of the log most of its decoding, at every coordinator.
func (c *SignIn) Quick(body []byte) bool {
	s := scanner{rest: body}
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
		c.Labels = make(map[string]string, 1)
		for more := true; more && !s.bad; more = s.has(",") {
			k := s.quoted()
			s.open(':')
			c.Labels[k] = s.quoted()
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

// scanner reads the one layout Quick knows; bad is for ever.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) has(text string) bool {
	if s.bad || len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
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
	n := bytes.IndexByte(s.rest[1:], '"')
	if n < 0 {
		s.bad = true
		return ""
	}
	b := s.rest[1 : 1+n]
	for _, c := range b {
		if c < 0x20 || c > 0x7E || c == '\\' {
			s.bad = true
			return ""
		}
	}
	s.rest = s.rest[n+2:]
	return string(b)
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
	v, err := strconv.ParseInt(string(s.rest[:n]), 10, 64)
	if err != nil {
		s.bad = true
	}
	s.rest = s.rest[n:]
	return v
}
