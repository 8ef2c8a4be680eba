package registry

import (
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// DecodeFast reads a sign-in that is written as fsm.Encode writes the usual ones:
// members in their order, no blanks, plain ASCII without escapes. It answers
// false, with c spoilt, for everything else, which encoding/json then reads.
// What it reads it reads as encoding/json does; it spares the most frequent
// command of the log most of its decoding, at every coordinator.
func (c *SignIn) DecodeFast(body []byte) bool {
	s := fastDecoder{rest: string(body)} // of which newSession copies what it keeps
	s.expect('{')
	c.Name = s.text(`"name":`)
	c.Namespace = s.text(`,"namespace":`)
	c.Session = s.text(`,"session":`)
	c.SecretHash = s.text(`,"secret_hash":`)
	c.Home = s.text(`,"home":`)
	if s.accept(`,"kind":`) {
		c.Kind = s.quoted()
	}
	s.labels(&c.Labels)
	s.place(&c.Place)
	if s.accept(`,"lease":`) {
		c.Lease = time.Duration(s.number())
	}
	s.runtimes(&c.Runtimes)
	if s.accept(`,"slots":`) {
		c.Slots = int(s.number())
	}
	if s.accept(`,"take_over":true`) {
		c.TakeOver = true
	}
	if s.accept(`,"attempt":`) {
		c.Attempt = s.unsigned()
	}
	if s.accept(`,"keep":true`) {
		c.Keep = true
	}
	if s.accept(`,"token":`) {
		c.Token = s.quoted()
	}
	s.expect('}')
	return !s.failed && len(s.rest) == 0
}

// AppendFast writes what encoding/json would, or answers false for a command
// with text that needs escapes. It is the other half of DecodeFast.
func (c SignIn) AppendFast(b []byte) ([]byte, bool) {
	w := fastEncoder{b: append(b, '{')}
	w.text(`"name":`, c.Name)
	w.text(`,"namespace":`, c.Namespace)
	w.text(`,"session":`, c.Session)
	w.text(`,"secret_hash":`, c.SecretHash)
	w.text(`,"home":`, c.Home)
	if c.Kind != "" {
		w.text(`,"kind":`, c.Kind)
	}
	w.labels(c.Labels)
	w.place(c.Place)
	if c.Lease != 0 {
		w.number(`,"lease":`, int64(c.Lease))
	}
	w.runtimes(c.Runtimes)
	if c.Slots != 0 {
		w.number(`,"slots":`, int64(c.Slots))
	}
	if c.TakeOver {
		w.raw(`,"take_over":true`)
	}
	if c.Attempt != 0 {
		w.b = strconv.AppendUint(append(w.b, `,"attempt":`...), c.Attempt, 10)
	}
	if c.Keep {
		w.raw(`,"keep":true`)
	}
	if c.Token != "" {
		w.text(`,"token":`, c.Token)
	}
	w.raw(`}`)
	return w.b, !w.failed
}

// DecodeFast reads a sign-out as SignIn.DecodeFast reads a sign-in: the other half of
// what sessions write.
func (c *SignOut) DecodeFast(body []byte) bool {
	s := fastDecoder{rest: string(body)} // of which Table.SignOut keeps nothing
	s.expect('{')
	c.FullName = s.text(`"full_name":`)
	c.Session = s.text(`,"session":`)
	c.Final = s.accept(`,"final":true`)
	s.expect('}')
	return !s.failed && len(s.rest) == 0
}

// AppendFast is the other half of DecodeFast, as SignIn.AppendFast is.
func (c SignOut) AppendFast(b []byte) ([]byte, bool) {
	w := fastEncoder{b: append(b, '{')}
	w.text(`"full_name":`, c.FullName)
	w.text(`,"session":`, c.Session)
	if c.Final {
		w.raw(`,"final":true`)
	}
	w.raw(`}`)
	return w.b, !w.failed
}

// DecodeFast reads a session as AppendFast writes it, as SignIn.DecodeFast reads a
// sign-in: what a sign-in answers goes from the leader to the home.
func (s *Session) DecodeFast(body []byte) bool {
	r := fastDecoder{rest: string(body)}
	r.expect('{')
	s.FullName = r.text(`"full_name":`)
	s.Name = r.text(`,"name":`)
	s.Namespace = r.text(`,"namespace":`)
	s.ID = r.text(`,"id":`)
	s.SecretHash = r.text(`,"secret_hash":`)
	s.Home = r.text(`,"home":`)
	s.Kind = r.text(`,"kind":`)
	s.Epoch = r.count(`,"epoch":`)
	r.labels(&s.Labels)
	r.place(&s.Place)
	r.failed = !r.accept(`,"lease":`) || r.failed
	s.Lease = time.Duration(r.number())
	r.runtimes(&s.Runtimes)
	if r.accept(`,"slots":`) {
		s.Slots = int(r.number())
	}
	if err := s.Since.UnmarshalText([]byte(r.text(`,"since":`))); err != nil {
		r.failed = true
	}
	s.Index = r.count(`,"index":`)
	if r.accept(`,"attempt":`) {
		s.Attempt = r.unsigned()
	}
	if r.accept(`,"token":`) {
		s.Token = r.quoted()
	}
	r.expect('}')
	return !r.failed && len(r.rest) == 0
}

// AppendFast writes what json.Marshal would, or answers false for a session
// with text that needs escapes, or a time that is not of UTC.
func (s Session) AppendFast(b []byte) ([]byte, bool) {
	w := fastEncoder{b: append(b, '{'), html: true}
	w.text(`"full_name":`, s.FullName)
	w.text(`,"name":`, s.Name)
	w.text(`,"namespace":`, s.Namespace)
	w.text(`,"id":`, s.ID)
	w.text(`,"secret_hash":`, s.SecretHash)
	w.text(`,"home":`, s.Home)
	w.text(`,"kind":`, s.Kind)
	w.b = strconv.AppendUint(append(w.b, `,"epoch":`...), s.Epoch, 10)
	w.labels(s.Labels)
	w.place(s.Place)
	w.number(`,"lease":`, int64(s.Lease))
	w.runtimes(s.Runtimes)
	if s.Slots != 0 {
		w.number(`,"slots":`, int64(s.Slots))
	}
	if y := s.Since.Year(); s.Since.Location() != time.UTC || y < 1 || y > 9999 {
		w.failed = true
	}
	w.b = s.Since.AppendFormat(append(w.b, `,"since":"`...), time.RFC3339Nano)
	w.b = strconv.AppendUint(append(w.b, `","index":`...), s.Index, 10)
	if s.Attempt != 0 {
		w.b = strconv.AppendUint(append(w.b, `,"attempt":`...), s.Attempt, 10)
	}
	if s.Token != "" {
		w.text(`,"token":`, s.Token)
	}
	w.raw(`}`)
	return w.b, !w.failed
}

// fastEncoder writes the one layout DecodeFast knows; bad is for ever.
type fastEncoder struct {
	b      []byte
	html   bool // what HTML would take for its own would be escaped
	failed bool
}

func (w *fastEncoder) raw(s string) { w.b = append(w.b, s...) }

func (w *fastEncoder) text(member, s string) {
	w.failed = w.failed || !needsNoEscape(s) || w.html && strings.ContainsAny(s, "<>&")
	w.b = append(append(w.b, member...), '"')
	w.b = append(append(w.b, s...), '"')
}

func (w *fastEncoder) number(member string, n int64) {
	w.b = strconv.AppendInt(append(w.b, member...), n, 10)
}

func (w *fastEncoder) labels(list Labels) {
	if len(list) == 0 {
		return
	}
	w.raw(`,"labels":{`)
	for i, l := range list {
		if i > 0 {
			w.raw(`,`)
		}
		w.text("", l.Key)
		w.text(":", l.Value)
	}
	w.raw(`}`)
}

func (w *fastEncoder) place(p wire.Place) {
	if p == (wire.Place{}) {
		return
	}
	w.raw(`,"place":{`)
	if p.Host != "" {
		w.text(`"host":`, p.Host)
	}
	if p.Host != "" && p.Group != "" {
		w.raw(`,`)
	}
	if p.Group != "" {
		w.text(`"group":`, p.Group)
	}
	w.raw(`}`)
}

func (w *fastEncoder) runtimes(list []string) {
	if len(list) == 0 {
		return
	}
	w.raw(`,"runtimes":[`)
	for i, r := range list {
		if i > 0 {
			w.raw(`,`)
		}
		w.text("", r)
	}
	w.raw(`]`)
}

// needsNoEscape reports whether s is written in JSON as it is.
func needsNoEscape(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7E || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// fastDecoder reads the one layout DecodeFast knows; bad is for ever.
type fastDecoder struct {
	rest   string
	failed bool
}

func (s *fastDecoder) accept(text string) bool {
	if s.failed || len(s.rest) < len(text) || s.rest[:len(text)] != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *fastDecoder) expect(c byte) {
	if len(s.rest) == 0 || s.rest[0] != c {
		s.failed = true
		return
	}
	s.rest = s.rest[1:]
}

func (s *fastDecoder) text(member string) string {
	if !s.accept(member) {
		s.failed = true
		return ""
	}
	return s.quoted()
}

func (s *fastDecoder) quoted() string {
	if s.failed || len(s.rest) == 0 || s.rest[0] != '"' {
		s.failed = true
		return ""
	}
	n := strings.IndexByte(s.rest[1:], '"')
	if n < 0 {
		s.failed = true
		return ""
	}
	text := s.rest[1 : 1+n]
	if !needsNoEscape(text) {
		s.failed = true
		return ""
	}
	s.rest = s.rest[n+2:]
	return text
}

func (s *fastDecoder) labels(into *Labels) {
	if !s.accept(`,"labels":{`) {
		return
	}
	list := Labels(nil)
	for more := true; more && !s.failed; more = s.accept(",") {
		k := s.quoted()
		s.expect(':')
		if n := len(list); n > 0 && list[n-1].Key >= k {
			s.failed = true // out of order
		}
		list = append(list, Label{k, s.quoted()})
	}
	s.expect('}')
	*into = list
}

func (s *fastDecoder) place(into *wire.Place) {
	if !s.accept(`,"place":{`) {
		return
	}
	first := s.accept(`"host":`)
	if first {
		into.Host = s.quoted()
	}
	if first && s.accept(`,"group":`) || !first && s.accept(`"group":`) {
		into.Group = s.quoted()
	}
	s.expect('}')
}

func (s *fastDecoder) runtimes(into *[]string) {
	if !s.accept(`,"runtimes":[`) {
		return
	}
	for more := true; more && !s.failed; more = s.accept(",") {
		*into = append(*into, s.quoted())
	}
	s.expect(']')
}

// count reads a member that is a number and not negative.
func (s *fastDecoder) count(member string) uint64 {
	if !s.accept(member) {
		s.failed = true
	}
	return s.unsigned()
}

// unsigned reads a whole number that is not negative.
func (s *fastDecoder) unsigned() uint64 {
	if s.accept("-") {
		s.failed = true
	}
	return uint64(s.number())
}

// number reads a whole number of at most 18 digits, as JSON writes it.
func (s *fastDecoder) number() int64 {
	n := 0
	for n < len(s.rest) && n < 19 && (s.rest[n] >= '0' && s.rest[n] <= '9' || n == 0 && s.rest[n] == '-') {
		n++
	}
	digits := s.rest[:n]
	if n > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		s.failed = true
		return 0
	}
	v, err := strconv.ParseInt(s.rest[:n], 10, 64)
	if err != nil {
		s.failed = true
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
