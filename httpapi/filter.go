package httpapi

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// selectors tell the value of a field of a row, by its JSON name.
type selectors[T any] map[string]func(*T) string

// labelsOf is how labels.KEY is read; nil where rows have none.
type labelsOf[T any] func(*T) map[string]string

// filter is a parsed ?filter=: all terms must hold. The language is the part
// of Consul's that is a list: FIELD == VALUE and FIELD != "VALUE", joined by
// "and".
type filter[T any] []func(*T) bool

func parseFilter[T any](text string, fields selectors[T], labels labelsOf[T]) (filter[T], error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > 2048 {
		return nil, wire.Invalid("filter", "a filter is at most 2048 bytes")
	}
	words, err := filterWords(text)
	if err != nil {
		return nil, err
	}
	var f filter[T]
	for {
		if len(words) < 3 || words[1] != "==" && words[1] != "!=" {
			return nil, wire.Invalid("filter", "a filter is like: state == \"done\" and labels.host != lab1")
		}
		get := fields[words[0]]
		if key, ok := strings.CutPrefix(words[0], "labels."); ok && labels != nil {
			get = func(row *T) string { return labels(row)[key] }
		}
		if get == nil {
			return nil, wire.Invalid("filter", "no field %q to filter by; there are %s", short(words[0]), strings.Join(fieldNames(fields, labels), ", "))
		}
		equal, value := words[1] == "==", words[2]
		f = append(f, func(row *T) bool { return (get(row) == value) == equal })
		if words = words[3:]; len(words) == 0 {
			return f, nil
		}
		if !strings.EqualFold(words[0], "and") {
			return nil, wire.Invalid("filter", "terms of a filter are joined by and, not by %q", short(words[0]))
		}
		words = words[1:]
	}
}

// filterWords cuts a filter at blanks and operators; "quoted" is one word.
func filterWords(text string) ([]string, error) {
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

func (f filter[T]) keeps(row *T) bool {
	for _, holds := range f {
		if !holds(row) {
			return false
		}
	}
	return true
}

// cut returns the page of a list that is read whole, in the order of key: all
// of what f keeps unless a limit is told.
func (f filter[T]) cut(rows []T, p control.Page, key func(*T) string) (page []T, next string) {
	page = []T{}
	for i := range rows {
		if p.After != "" && key(&rows[i]) <= p.After || !f.keeps(&rows[i]) {
			continue
		}
		if p.Limit > 0 && len(page) == p.Limit {
			return page, key(&page[p.Limit-1])
		}
		page = append(page, rows[i])
	}
	return page, ""
}

// chosen reads pages until one page of rows that f keeps is full. Without a
// filter that is one page as it is.
func (f filter[T]) chosen(p control.Page, read func(control.Page) (rows []T, next string, err error), key func(*T) string) ([]T, string, error) {
	if len(f) == 0 {
		return read(p)
	}
	limit := p.Limit
	if limit == 0 {
		limit = control.DefaultPage
	}
	kept := []T{}
	for ask := (control.Page{Limit: control.MaxPage, After: p.After}); ; {
		rows, next, err := read(ask)
		if err != nil {
			return nil, "", err
		}
		for i := range rows {
			if !f.keeps(&rows[i]) {
				continue
			}
			if len(kept) == limit {
				return kept, key(&kept[limit-1]), nil
			}
			kept = append(kept, rows[i])
		}
		if next == "" {
			return kept, "", nil
		}
		ask.After = next
	}
}

// fieldNames lists what there is to filter by, for an error.
func fieldNames[T any](fields selectors[T], labels labelsOf[T]) []string {
	names := slices.Sorted(maps.Keys(fields))
	if labels != nil {
		names = append(names, "labels.KEY")
	}
	return names
}
