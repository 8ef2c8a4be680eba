// Figures writes the figures of the code into the pages of the documentation:
// limits, defaults and times, in their tables and in the text. With -check it
// only tells which are not those of the code.
//
//	go generate ./docs/figures
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:generate go run . -root ../..

func main() {
	root := flag.String("root", ".", "the root of the sources")
	check := flag.Bool("check", false, "write nothing: tell what would change")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	c := &code{root: root}
	var all error
	for _, p := range pages {
		name := filepath.Join(root, p.name)
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		text, err := p.fill(c, string(b))
		switch {
		case err != nil:
			all = errors.Join(all, fmt.Errorf("%s: %w", p.name, err))
		case text == string(b):
		case check:
			all = errors.Join(all, fmt.Errorf("%s: %s: go generate ./docs/figures", p.name, firstChange(string(b), text)))
		default:
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				return err
			}
			fmt.Println("written: " + p.name)
		}
	}
	return all
}

func firstChange(old, now string) string {
	before, after := strings.Split(old, "\n"), strings.Split(now, "\n")
	for i := range before {
		if i < len(after) && before[i] != after[i] {
			return fmt.Sprintf("line %d is stale: it must say %q", i+1, after[i])
		}
	}
	return "it is stale"
}

// phrase is text of a page with figures in it, at the places of %n (a number),
// %s (a size) and %t (a time). Each is the value of the name at the same place.
// Its blanks may be ends of lines in the page.
type phrase struct {
	format string
	values []string
}

var (
	verbs  = regexp.MustCompile(`%[nst]`)
	blanks = regexp.MustCompile(`\s+`)
	digits = regexp.MustCompile(`\d`)
	table  = regexp.MustCompile(`(?m)(^\|.*\n)+`)
	// shapes of the figures in a page, by verb.
	shapes = map[byte]string{'n': `\d+(?:,\d{3})*`, 's': `\d+\s+(?:GiB|MiB|KiB|bytes)`, 't': `\d+(?:\.\d+)?\s+(?:ms|s|min|h)`}
)

// pattern finds the phrase in a page, whatever its figures are; each is a
// group.
func (p phrase) pattern() *regexp.Regexp {
	quoted := func(s string) string {
		words := blanks.Split(s, -1)
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		return strings.Join(words, `\s+`)
	}
	out, at := "", 0
	for _, m := range verbs.FindAllStringIndex(p.format, -1) {
		out += quoted(p.format[at:m[0]]) + "(" + shapes[p.format[m[1]-1]] + ")"
		at = m[1]
	}
	return regexp.MustCompile(out + quoted(p.format[at:]))
}

// figures are what the phrase says, by the code.
func (p phrase) figures(c *code) ([]string, error) {
	places := verbs.FindAllString(p.format, -1)
	if len(places) != len(p.values) {
		return nil, fmt.Errorf("%q has %d places for %d figures", p.format, len(places), len(p.values))
	}
	var out []string
	for i, ref := range p.values {
		says, err := c.figure(places[i][1], ref)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", p.format, err)
		}
		out = append(out, says)
	}
	return out, nil
}

// fill returns the text of the page with the figures of the code. Errors: a
// phrase that is not there, a name without a value, and a row of the table of
// limits that has a figure of its own.
func (p page) fill(c *code, text string) (string, error) {
	start, end := 0, 0 // the table of limits
	if p.limits != "" {
		before, after, _ := strings.Cut(text, p.limits+"\n")
		at := table.FindStringIndex(after)
		if at == nil {
			return "", fmt.Errorf("there is no table in %q", p.limits)
		}
		start, end = len(before)+len(p.limits)+1+at[0], len(before)+len(p.limits)+1+at[1]
	}
	type change struct {
		from, to int
		says     string
	}
	var changes []change
	held := make([]bool, len(text)) // by a phrase
	for _, ph := range p.phrases {
		says, err := ph.figures(c)
		if err != nil {
			return "", err
		}
		found := ph.pattern().FindAllStringSubmatchIndex(text, -1)
		if found == nil {
			return "", fmt.Errorf("it lacks %q", ph.format)
		}
		for _, m := range found {
			for i := m[0]; i < m[1]; i++ {
				held[i] = true
			}
			for i, s := range says {
				from, to := m[2*i+2], m[2*i+3]
				if blanks.ReplaceAllString(text[from:to], " ") != s {
					changes = append(changes, change{from, to, s})
				}
			}
		}
	}
	for i := start; i < end; i++ {
		if digits.MatchString(text[i:i+1]) && !held[i] {
			line := text[strings.LastIndexByte(text[:i], '\n')+1:]
			line, _, _ = strings.Cut(line, "\n")
			return "", fmt.Errorf("%s: no phrase holds this to the code: %s", p.limits, line)
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return b.from - a.from })
	changes = slices.CompactFunc(changes, func(a, b change) bool { return a.from == b.from })
	for _, ch := range changes {
		text = text[:ch.from] + ch.says + text[ch.to:]
	}
	return text, nil
}
