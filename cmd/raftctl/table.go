package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	pretty "github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// table is aligned columns without lines; an empty cell is a dash.
type table struct {
	w     pretty.Writer
	heads []string
	rows  int
}

// quiet has no borders: two blanks between columns, as shells' tools do it.
var quiet = pretty.Style{
	Name:   "quiet",
	Box:    pretty.BoxStyle{PaddingRight: "  "},
	Format: pretty.FormatOptions{Header: text.FormatUpper},
	Color:  pretty.ColorOptions{Header: text.Colors{text.Bold}},
}

func (a *app) table(heads ...string) *table {
	t := &table{w: pretty.NewWriter(), heads: heads}
	t.w.SetStyle(quiet)
	t.w.SuppressTrailingSpaces()
	row := make(pretty.Row, len(heads))
	for i, h := range heads {
		row[i] = h
	}
	t.w.AppendHeader(row)
	return t
}

// numbers sets columns, by name, to the right.
func (t *table) numbers(heads ...string) *table {
	var cfg []pretty.ColumnConfig
	for i, h := range t.heads {
		if slices.Contains(heads, h) {
			cfg = append(cfg, pretty.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	t.w.SetColumnConfigs(cfg)
	return t
}

func (t *table) row(cells ...any) {
	row := make(pretty.Row, len(cells))
	for i, c := range cells {
		s, ours := "", false
		if tint, ok := c.(tinted); ok {
			s, ours = string(tint), true
		}
		if !ours {
			s = clean(fmt.Sprint(c))
		}
		if s == "" && t.heads[i] != "" {
			s = "-"
		}
		row[i] = s
	}
	t.w.AppendRow(row)
	t.rows++
}

func (t *table) render(w io.Writer) error {
	_, err := fmt.Fprintln(w, strings.TrimRight(t.w.Render(), "\n"))
	return err
}

// clean keeps what comes from others from writing over the terminal: control characters are shown, not sent.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

// tinted is a clean cell with colours around it.
type tinted string

// age is how long ago t was, in its largest unit or two.
func (a *app) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(a.now().Sub(t))
}

func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// mood colours a state: good, bad, or under way.
func mood(state string) tinted {
	state = clean(state)
	switch state {
	case "leader", "done", "yes", "up":
		state = text.FgGreen.Sprint(state)
	case "failed", "lost", "unreachable", "no":
		state = text.FgRed.Sprint(state)
	case "running", "candidate", "cancelled":
		state = text.FgYellow.Sprint(state)
	}
	return tinted(state)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// labels are k=v,... in order; unless wide, only as many as keep a line short.
func labels(m map[string]string, wide bool) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	all := strings.Join(out, ",")
	if wide {
		return all
	}
	return brief(all, 48)
}
