package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// reason is why some parts are not done, and which.
type reason struct {
	text  string
	whole string // the error of the first of them
	count int
	parts []int // the first of them
}

// reasons counts what kept parts from being done.
type reasons []reason

// shownParts and shownReasons bound what is printed of many failures.
const (
	shownParts   = 5
	shownReasons = 5
)

func (rs *reasons) add(part int, text, whole string) {
	i := slices.IndexFunc(*rs, func(r reason) bool { return r.text == text })
	if i < 0 {
		i = len(*rs)
		*rs = append(*rs, reason{text: text, whole: whole})
	}
	r := &(*rs)[i]
	if r.count++; len(r.parts) < shownParts {
		r.parts = append(r.parts, part)
	}
}

// sorted has the most frequent first.
func (rs reasons) sorted() reasons {
	rs = slices.Clone(rs)
	slices.SortStableFunc(rs, func(a, b reason) int { return cmp.Compare(b.count, a.count) })
	return rs
}

// printMultiline prints the errors that have several lines, tracebacks for one, as they are, under the parts that they ended.
func (rs reasons) printMultiline(w io.Writer) {
	for i, r := range rs.sorted() {
		if i == shownReasons {
			return
		}
		if !multiline(r.whole) {
			continue
		}
		which := r.partList()
		if r.text != r.whole { // those of the others may differ in what is above the last line
			which = fmt.Sprintf("part %d", r.parts[0])
		}
		fmt.Fprintf(w, "\n%s:\n%s", which, indented(r.whole))
	}
}

func multiline(s string) bool { return strings.Contains(strings.TrimSpace(s), "\n") }

// indented is a text of several lines as it may be shown on a terminal.
func indented(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(s)) {
		line = strings.TrimRight(line, "\r\n")
		fmt.Fprintf(&b, "    %s\n", clean(strings.ReplaceAll(line, "\t", "    ")))
	}
	return b.String()
}

// inLine is what Python says of every place that an exception passed.
var inLine = regexp.MustCompile(`(?m)^ *File "[^"\n]*", line (\d+)`)

// summaryLine is an error in a line: of a traceback its last one, and the number of the line that raised it; else how the
// script ended and what it said last.
func summaryLine(err string) string {
	last := lastLine(err)
	if !multiline(err) {
		return last
	}
	first, _, _ := strings.Cut(strings.TrimSpace(err), "\n")
	places := inLine.FindAllStringSubmatch(err, -1)
	switch {
	case len(places) > 0:
		return fmt.Sprintf("%s (line %s)", last, places[len(places)-1][1])
	case strings.HasPrefix(first, "Traceback"):
		return last
	}
	return truncate(strings.TrimSpace(first), 120) + ": " + last
}

// lines returns a line for each reason, the most frequent first.
func (rs reasons) lines() []string {
	rs = rs.sorted()
	var out []string
	for i, r := range rs {
		if i == shownReasons {
			rest := 0
			for _, r := range rs[i:] {
				rest += r.count
			}
			return append(out, fmt.Sprintf("%d x for %d further reasons", rest, len(rs)-i))
		}
		out = append(out, fmt.Sprintf("%d x %s (%s)", r.count, r.text, r.partList()))
	}
	return out
}

func (r reason) partList() string {
	var n []string
	for _, p := range r.parts {
		n = append(n, fmt.Sprint(p))
	}
	which := "part "
	if r.count > 1 {
		which = "parts "
	}
	if which += strings.Join(n, ", "); r.count > len(r.parts) {
		which += ", ..."
	}
	return which
}

// failureText is what a part's error comes down to, after the state of one that is given up for another reason than an error.
func failureText(state, err string) string {
	text := summaryLine(err)
	if state == "lost" || text == "" {
		text = strings.TrimSuffix(clean(state)+": "+text, ": ")
	}
	return text
}

// failures reads why parts of a job failed, at most a page for each kind: for good, or so far.
func (a *app) failures(ctx context.Context, j wire.Job, read client.Read) (reasons, error) {
	var filters []string
	if j.Parts.Failed > 0 {
		filters = append(filters, "state == failed")
	}
	if j.Parts.Lost > 0 {
		filters = append(filters, "state == lost")
	}
	if j.State == "running" {
		filters = append(filters, "attempt != 0 and state != done and state != failed and state != lost")
	}
	var found reasons
	for _, f := range filters {
		page, _, err := a.client.PartsBy(ctx, j.ID, f, client.Page{Limit: 1000}, client.Read{Consistency: read.Consistency})
		if err != nil {
			return nil, err
		}
		for _, p := range page.Parts {
			switch {
			case client.Final(p.State) || p.State == "lost":
				found.add(p.Part, failureText(p.State, p.Error), p.Error)
			case p.Error != "":
				found.add(p.Part, failureText(p.State, p.Error)+", tried again", p.Error)
			}
		}
	}
	return found, nil
}
