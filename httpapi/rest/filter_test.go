package rest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

type row struct {
	name, state string
	labels      map[string]string
}

var fields = rest.Fields[row]{
	"name":  func(r *row) string { return r.name },
	"state": func(r *row) string { return r.state },
}

func labels(r *row) map[string]string { return r.labels }

func name(r *row) string { return r.name }

var rows = []row{
	{"a", "done", map[string]string{"host": "lab1"}},
	{"b", "queued", nil},
	{"c", "done", map[string]string{"host": "lab 2"}},
	{"d", "done", nil},
}

func names(rows []row) (all string) {
	for _, r := range rows {
		all += r.name
	}
	return all
}

// All terms of a filter must hold; a page ends at its limit and names where the
// next one begins.
func TestFilterPage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter     string
		page       control.Page
		want, next string
	}{
		{"", control.Page{}, "abcd", ""},
		{"state == done", control.Page{}, "acd", ""},
		{`state=="done" and name != a`, control.Page{}, "cd", ""},
		{`labels.host == "lab 2"`, control.Page{}, "c", ""},
		{"labels.host != lab1 AND state == done", control.Page{}, "cd", ""},
		{"state == done", control.Page{Limit: 2}, "ac", "c"},
		{"state == done", control.Page{Limit: 2, After: "c"}, "d", ""},
		{"state == lost", control.Page{}, "", ""},
	} {
		f, err := rest.ParseFilter(c.filter, fields, labels)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		if page, next := f.Page(rows, c.page, name); names(page) != c.want || next != c.next {
			t.Errorf("%s, %+v: got %q, next %q, want %q, %q", c.filter, c.page, names(page), next, c.want, c.next)
		}
	}
}

// With a filter pages are read until one is full; without one a page is passed on.
func TestFilterCollect(t *testing.T) {
	t.Parallel()
	reads := 0
	read := func(p control.Page) ([]row, string, error) { // two rows a page, whatever is asked for
		reads++
		i := 1 + slices.IndexFunc(rows, func(r row) bool { return r.name == p.After })
		end := min(i+2, len(rows))
		next := ""
		if end < len(rows) {
			next = rows[end-1].name
		}
		return rows[i:end], next, nil
	}
	for _, c := range []struct {
		filter     string
		page       control.Page
		want, next string
		reads      int
	}{
		{"", control.Page{Limit: 2}, "ab", "b", 1},
		{"state == done", control.Page{Limit: 3}, "acd", "", 2},
		{"state == done", control.Page{Limit: 1}, "a", "a", 2},
		{"state == done", control.Page{Limit: 1, After: "b"}, "c", "c", 1},
	} {
		f, err := rest.ParseFilter(c.filter, fields, labels)
		if err != nil {
			t.Fatal(err)
		}
		reads = 0
		page, next, err := f.Collect(c.page, read, name)
		if names(page) != c.want || next != c.next || err != nil || reads != c.reads {
			t.Errorf("%q, %+v: got %q, next %q, %v after %d reads, want %q, %q after %d", c.filter, c.page, names(page), next, err, reads, c.want, c.next, c.reads)
		}
	}
}

// What is no filter is refused, with what is wrong in it.
func TestRefusedFilters(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"state":                       "is like",
		"state = done":                "operator",
		"state == done or name == a":  "joined by and",
		"colour == red":               "name, state, labels.KEY",
		`state == "done`:              "does not end",
		`state == "\q"`:               "",
		"state == done and":           "is like",
		strings.Repeat("x", 3000):     "2048",
		"state == done name == a and": "joined by and",
	} {
		_, err := rest.ParseFilter(filter, fields, labels)
		if wire.CodeOf(err) != wire.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want a refusal with %q", filter, err, want)
		}
	}
}
