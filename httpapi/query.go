package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// Names of query parameters that belong together.
var (
	readParams = []string{"consistency", "stale", "default", "consistent", "index", "wait", "cluster"}
	listParams = append(slices.Clone(readParams), "limit", "after", "filter")
)

// many lists the parameters that may be told more than once.
var many = []string{"label", "topic"}

// maxParams bounds how many query parameters are looked at.
const maxParams = 64

type param struct{ name, value string }

// params are the query parameters of one request, in the order told.
type params []param

// parse reads raw into p. Unknown names, names told twice, bad escapes and
// values that are not UTF-8 text are refused by name. known nil takes all.
func (p params) parse(raw string, known []string) (params, error) {
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
		case err != nil || !plain(name) || !plain(value):
			return p, wire.Invalid(strings.ToValidUTF8(short(name), "?"), "the query parameter %q is malformed", short(name))
		case len(p) == maxParams:
			return p, wire.Invalid("", "there are more than %d query parameters", maxParams)
		case known != nil && !slices.Contains(known, name):
			return p, wire.Invalid(short(name), "unknown query parameter %q", short(name))
		case p.has(name) && !slices.Contains(many, name):
			return p, wire.Invalid(short(name), "the query parameter %q is told twice", short(name))
		}
		p = append(p, param{name, value})
	}
	return p, nil
}

func unescape(s string) (string, error) {
	if strings.ContainsAny(s, "%+;") {
		if strings.Contains(s, ";") {
			return s, strconv.ErrSyntax // some readers take it for "&": nobody shall guess
		}
		return url.QueryUnescape(s)
	}
	return s, nil
}

// plain tells whether s is UTF-8 without control characters.
func plain(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == 0x7F || r == '\uFFFD' {
			return false
		}
	}
	return true
}

func (p params) has(name string) bool {
	for i := range p {
		if p[i].name == name {
			return true
		}
	}
	return false
}

// get returns the value of a parameter, "" when it was not told.
func (p params) get(name string) string {
	for i := range p {
		if p[i].name == name {
			return p[i].value
		}
	}
	return ""
}

// all returns the values of a parameter that may be told more than once.
func (p params) all(name string) []string {
	var values []string
	for i := range p {
		if p[i].name == name {
			values = append(values, p[i].value)
		}
	}
	return values
}

// flag reads a yes-or-no parameter; told without a value it is yes.
func (p params) flag(name string) (bool, error) {
	if !p.has(name) {
		return false, nil
	}
	switch p.get(name) {
	case "", "1", "true", "yes":
		return true, nil
	case "0", "false", "no":
		return false, nil
	}
	return false, wire.Invalid(name, "%s is 1 or 0, not %q", name, short(p.get(name)))
}

// number reads a whole number of lo to hi, otherwise when it was not told.
func (p params) number(name string, lo, hi, otherwise int) (int, error) {
	if !p.has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(p.get(name))
	if err != nil || n < lo || n > hi {
		return 0, wire.Invalid(name, "%s is a whole number from %d to %d, not %q", name, lo, hi, short(p.get(name)))
	}
	return n, nil
}

// index reads an index of the log.
func (p params) index(name string) (uint64, error) {
	if !p.has(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.get(name), 10, 64)
	if err != nil {
		return 0, wire.Invalid(name, "%s is a whole number, not %q", name, short(p.get(name)))
	}
	return n, nil
}

// duration reads "30s" or a number of seconds, from 0 to longest; more is
// capped.
func (p params) duration(name string, longest, otherwise time.Duration) (time.Duration, error) {
	if !p.has(name) {
		return otherwise, nil
	}
	s := p.get(name)
	d, err := time.ParseDuration(s)
	if err != nil {
		var seconds uint64
		if seconds, err = strconv.ParseUint(s, 10, 31); err == nil {
			d = time.Duration(seconds) * time.Second
		}
	}
	if err != nil || d < 0 {
		return 0, wire.Invalid(name, "%s is a duration like 30s, not %q", name, short(s))
	}
	return min(d, longest), nil
}

// read tells how fresh the answer must be.
func (p params) read() (control.Read, error) {
	var r control.Read
	if len(p) == 0 {
		return r, nil
	}
	r.Consistency = p.get("consistency")
	switch r.Consistency {
	case "", "stale", "default", "strict":
	default:
		return r, wire.Invalid("consistency", "consistency is stale, default or strict, not %q", short(r.Consistency))
	}
	for _, shorthand := range [...]struct{ name, means string }{{"stale", "stale"}, {"default", "default"}, {"consistent", "strict"}} {
		set, err := p.flag(shorthand.name)
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
	if r.Index, err = p.index("index"); err != nil {
		return r, err
	}
	r.Cluster = p.get("cluster")
	r.Wait, err = p.duration("wait", longestWait, 0)
	return r, err
}

// page tells which part of a list is wanted.
func (p params) page() (control.Page, error) {
	limit, err := p.number("limit", 1, control.MaxPage, 0)
	return control.Page{Limit: limit, After: p.get("after")}, err
}
