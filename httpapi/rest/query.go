package rest

import (
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// Names of query parameters that belong together, for Route.Params. Nobody may
// append to them: see With.
var (
	NoParams   = []string{}
	ReadParams = []string{"consistency", "stale", "default", "consistent", "index", "wait", "cluster"}
	ListParams = With(ReadParams, "limit", "after", "filter")
)

// With returns params and more of them in a slice of its own.
func With(params []string, more ...string) []string {
	return append(append([]string{}, params...), more...)
}

// repeatable lists the parameters that may be given more than once.
var repeatable = []string{"label", "topic"}

// maxParams bounds how many query parameters are looked at.
const maxParams = 64

type param struct{ name, value string }

// Params are the query parameters of one request, in the order given.
type Params []param

// parse appends the parameters of a raw query to p. Unknown names, names given
// twice, bad escapes and values that are not UTF-8 text are refused by name.
// known nil takes all.
func (p Params) parse(raw string, known []string) (Params, error) {
	for rest := raw; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		var err error
		if name, err = unescape(name); err == nil {
			value, err = unescape(value)
		}
		switch {
		case err != nil || !isPlainText(name) || !isPlainText(value):
			return p, wire.Invalid(strings.ToValidUTF8(Clip(name), "?"), "the query parameter %q is malformed", Clip(name))
		case len(p) == maxParams:
			return p, wire.Invalid("", "there are more than %d query parameters", maxParams)
		case known != nil && !slices.Contains(known, name) && slices.Contains(tokenNames, strings.ToLower(name)):
			return p, wire.Invalid(name, "unknown query parameter %q; if it was to be a token: %s", name, onlyHeader)
		case known != nil && !slices.Contains(known, name):
			return p, wire.Invalid(Clip(name), "unknown query parameter %q", Clip(name))
		case p.Has(name) && !slices.Contains(repeatable, name):
			return p, wire.Invalid(Clip(name), "the query parameter %q is told twice", Clip(name))
		}
		p = append(p, param{name, value})
	}
	return p, nil
}

func unescape(s string) (string, error) {
	if strings.ContainsAny(s, "%+;") {
		if strings.Contains(s, ";") {
			return s, strconv.ErrSyntax // some parsers take it for "&": nobody shall guess
		}
		return url.QueryUnescape(s)
	}
	return s, nil
}

// isPlainText tells whether s is UTF-8 without control characters.
func isPlainText(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7F || r == '\uFFFD' {
			return false
		}
	}
	return true
}

// Has tells whether a parameter was given.
func (p Params) Has(name string) bool {
	for i := range p {
		if p[i].name == name {
			return true
		}
	}
	return false
}

// Get returns the value of a parameter, "" when it was not given.
func (p Params) Get(name string) string {
	for i := range p {
		if p[i].name == name {
			return p[i].value
		}
	}
	return ""
}

// Values returns the values of a parameter that may be given more than once.
func (p Params) Values(name string) []string {
	var values []string
	for i := range p {
		if p[i].name == name {
			values = append(values, p[i].value)
		}
	}
	return values
}

// All yields the names and values of all parameters, in the order given.
func (p Params) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for i := range p {
			if !yield(p[i].name, p[i].value) {
				return
			}
		}
	}
}

// Flag parses a yes-or-no parameter; given without a value it is yes.
// Errors: invalid.
func (p Params) Flag(name string) (bool, error) {
	if !p.Has(name) {
		return false, nil
	}
	switch p.Get(name) {
	case "", "1", "true", "yes":
		return true, nil
	case "0", "false", "no":
		return false, nil
	}
	return false, wire.Invalid(name, "%s is 1 or 0, not %q", name, Clip(p.Get(name)))
}

// Int parses a whole number of lo to hi; def is its value when it was not given.
// Errors: invalid.
func (p Params) Int(name string, lo, hi, def int) (int, error) {
	if !p.Has(name) {
		return def, nil
	}
	n, err := strconv.Atoi(p.Get(name))
	if err != nil || n < lo || n > hi {
		return 0, wire.Invalid(name, "%s is a whole number from %d to %d, not %q", name, lo, hi, Clip(p.Get(name)))
	}
	return n, nil
}

// Index parses an index of the log, 0 when it was not given. Errors: invalid.
func (p Params) Index(name string) (uint64, error) {
	if !p.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.Get(name), 10, 64)
	if err != nil {
		return 0, wire.Invalid(name, "%s is a whole number, not %q", name, Clip(p.Get(name)))
	}
	return n, nil
}

// Duration parses "30s" or a number of seconds, from 0 to longest; more is
// capped. def is its value when it was not given. Errors: invalid.
func (p Params) Duration(name string, longest, def time.Duration) (time.Duration, error) {
	if !p.Has(name) {
		return def, nil
	}
	s := p.Get(name)
	d, err := time.ParseDuration(s)
	if err != nil {
		var seconds uint64
		if seconds, err = strconv.ParseUint(s, 10, 31); err == nil {
			d = time.Duration(seconds) * time.Second
		}
	}
	if err != nil || d < 0 {
		return 0, wire.Invalid(name, "%s is a duration like 30s, not %q", name, Clip(s))
	}
	return min(d, longest), nil
}

// Wait parses ?wait=, how long a call may block. Errors: invalid.
func (p Params) Wait(def time.Duration) (time.Duration, error) {
	return p.Duration("wait", longestWait, def)
}

// Read parses how fresh the answer must be (ReadParams). Errors: invalid.
func (p Params) Read() (control.Read, error) {
	var r control.Read
	if len(p) == 0 {
		return r, nil
	}
	r.Consistency = p.Get("consistency")
	switch r.Consistency {
	case "", "stale", "default", "strict":
	default:
		return r, wire.Invalid("consistency", "consistency is stale, default or strict, not %q", Clip(r.Consistency))
	}
	for _, shorthand := range [...]struct{ name, means string }{{"stale", "stale"}, {"default", "default"}, {"consistent", "strict"}} {
		set, err := p.Flag(shorthand.name)
		if err != nil {
			return r, err
		}
		if set && r.Consistency != "" && r.Consistency != shorthand.means {
			return r, wire.Invalid(shorthand.name, "%s contradicts consistency %s", shorthand.name, r.Consistency)
		}
		if set {
			r.Consistency = shorthand.means
		}
	}
	var err error
	if r.Index, err = p.Index("index"); err != nil {
		return r, err
	}
	r.Cluster = p.Get("cluster")
	r.Wait, err = p.Wait(0)
	return r, err
}

// Page parses which part of a list is wanted (limit and after). Errors: invalid.
func (p Params) Page() (control.Page, error) {
	limit, err := p.Int("limit", 1, control.MaxPage, 0)
	return control.Page{Limit: limit, After: p.Get("after")}, err
}
