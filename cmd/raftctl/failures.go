package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// reason is why some parts are not done, and which.
type reason struct {
	text  string
	count int
	parts []int // the first of them
}

// reasons counts what kept parts from being done.
type reasons []reason

// shownParts and shownReasons bound what is told of many failures.
const (
	shownParts   = 5
	shownReasons = 5
)

func (rs *reasons) add(part int, text string) {
	i := slices.IndexFunc(*rs, func(r reason) bool { return r.text == text })
	if i < 0 {
		i = len(*rs)
		*rs = append(*rs, reason{text: text})
	}
	r := &(*rs)[i]
	if r.count++; len(r.parts) < shownParts {
		r.parts = append(r.parts, part)
	}
}

// lines tells them, the most frequent first.
func (rs reasons) lines() []string {
	rs = slices.Clone(rs)
	slices.SortStableFunc(rs, func(a, b reason) int { return cmp.Compare(b.count, a.count) })
	var out []string
	for i, r := range rs {
		if i == shownReasons {
			rest := 0
			for _, r := range rs[i:] {
				rest += r.count
			}
			return append(out, fmt.Sprintf("%d x for %d further reasons", rest, len(rs)-i))
		}
		out = append(out, fmt.Sprintf("%d x %s (%s)", r.count, r.text, r.which()))
	}
	return out
}

func (r reason) which() string {
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

// why is what a part's error comes down to, after the state of one that is given up for another reason than an error.
func why(state, err string) string {
	text := lastLine(err)
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
				found.add(p.Part, why(p.State, p.Error))
			case p.Error != "":
				found.add(p.Part, why(p.State, p.Error)+", tried again")
			}
		}
	}
	return found, nil
}
