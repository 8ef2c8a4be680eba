package rest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// Fields return the value of a field of a row, by its JSON name.
type Fields[T any] map[string]func(*T) string

// Labels returns the labels of a row; nil where rows have none.
type Labels[T any] func(*T) map[string]string

// Filter is a parsed ?filter=: all terms must hold. The language is the part of
// Consul's that is a list: FIELD == VALUE and FIELD != "VALUE", joined by "and".
// The zero value lets every row pass.
type Filter[T any] []func(*T) bool

// maxFilter bounds the text of a filter, in bytes.
const maxFilter = 2048

// ParseFilter parses a filter over these fields and labels. Errors: invalid.
func ParseFilter[T any](text string, fields Fields[T], labels Labels[T]) (Filter[T], error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxFilter {
		return nil, wire.Invalid("filter", "a filter is at most %d bytes", maxFilter)
	}
	words, err := splitFilter(text)
	if err != nil {
		return nil, err
	}
	var f Filter[T]
	for {
		if len(words) < 3 || words[1] != "==" && words[1] != "!=" {
			return nil, wire.Invalid("filter", "a filter is like: state == \"done\" and labels.host != lab1")
		}
		get := fields[words[0]]
		if key, ok := strings.CutPrefix(words[0], "labels."); ok && labels != nil {
			get = func(row *T) string { return labels(row)[key] }
		}
		if get == nil {
			return nil, wire.Invalid("filter", "no field %q to filter by; there are %s", Clip(words[0]), strings.Join(fieldNames(fields, labels), ", "))
		}
		equal, value := words[1] == "==", words[2]
		f = append(f, func(row *T) bool { return (get(row) == value) == equal })
		if words = words[3:]; len(words) == 0 {
			return f, nil
		}
		if !strings.EqualFold(words[0], "and") {
			return nil, wire.Invalid("filter", "terms of a filter are joined by and, not by %q", Clip(words[0]))
		}
		words = words[1:]
	}
}

// splitFilter splits a filter at blanks and operators; "quoted" is one word.
func splitFilter(text string) ([]string, error) {
	var words []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		switch {
		case strings.HasPrefix(text, "==") || strings.HasPrefix(text, "!="):
			words, text = append(words, text[:2]), text[2:]
		case text[0] == '"':
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil {
				return nil, wire.Invalid("filter", "a quote in the filter does not end")
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, wire.Invalid("filter", "a quoted value in the filter is malformed")
			}
			words, text = append(words, word), text[len(quoted):]
		default:
			end := strings.IndexAny(text, " =!\"")
			if end < 0 {
				end = len(text)
			}
			if end == 0 {
				return nil, wire.Invalid("filter", "the filter has an operator other than == and !=")
			}
			words, text = append(words, text[:end]), text[end:]
		}
	}
	return words, nil
}

func (f Filter[T]) match(row *T) bool {
	for _, term := range f {
		if !term(row) {
			return false
		}
	}
	return true
}

// Page returns the page of a list that is held as a whole, in the order of key:
// all rows that match unless there is a limit. next is where the next page
// begins, "" at the end.
func (f Filter[T]) Page(rows []T, p control.Page, key func(*T) string) (page []T, next string) {
	page = []T{}
	for i := range rows {
		if p.After != "" && key(&rows[i]) <= p.After || !f.match(&rows[i]) {
			continue
		}
		if p.Limit > 0 && len(page) == p.Limit {
			return page, key(&page[p.Limit-1])
		}
		page = append(page, rows[i])
	}
	return page, ""
}

// Collect reads pages until one page of rows that match is full. Without a
// filter that is one page as it is. next is where the next page begins, "" at
// the end.
func (f Filter[T]) Collect(p control.Page, read func(control.Page) (rows []T, next string, err error), key func(*T) string) (page []T, next string, err error) {
	if len(f) == 0 {
		return read(p)
	}
	limit := p.Limit
	if limit == 0 {
		limit = control.DefaultPage
	}
	page = []T{}
	for ask := (control.Page{Limit: control.MaxPage, After: p.After}); ; {
		rows, next, err := read(ask)
		if err != nil {
			return nil, "", err
		}
		for i := range rows {
			if !f.match(&rows[i]) {
				continue
			}
			if len(page) == limit {
				return page, key(&page[limit-1]), nil
			}
			page = append(page, rows[i])
		}
		if next == "" {
			return page, "", nil
		}
		ask.After = next
	}
}

// fieldNames lists what there is to filter by, for an error.
func fieldNames[T any](fields Fields[T], labels Labels[T]) []string {
	names := slices.Sorted(maps.Keys(fields))
	if labels != nil {
		names = append(names, "labels.KEY")
	}
	return names
}

// ParsePage parses which part of a list is wanted: limit, after and filter.
// Errors: invalid.
func ParsePage[T any](p Params, fields Fields[T], labels Labels[T]) (control.Page, Filter[T], error) {
	page, err := p.Page()
	if err != nil {
		return page, nil, err
	}
	filter, err := ParseFilter(p.Get("filter"), fields, labels)
	return page, filter, err
}
