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
	w       pretty.Writer
	heads   []string
	rows    int
	columns []pretty.ColumnConfig
	widths  []int // of the widest cell of each column
	fitting fitting
}

// fitting is how a table is made to fit into a number of columns.
type fitting struct {
	width int      // 0: it need not
	last  string   // this column is cut
	spare []string // these are left out, in this order, before the last has less than leastLast
}

// leastLast is how much of the last column is worth more than the spare ones.
const leastLast = 20

// borderless has no borders: two blanks between columns, as shells' tools do it.
var borderless = pretty.Style{
	Name:   "quiet",
	Box:    pretty.BoxStyle{PaddingRight: "  "},
	Format: pretty.FormatOptions{Header: text.FormatUpper},
	Color:  pretty.ColorOptions{Header: text.Colors{text.Bold}},
}

func (a *app) table(heads ...string) *table {
	t := &table{w: pretty.NewWriter(), heads: heads, columns: make([]pretty.ColumnConfig, len(heads)), widths: make([]int, len(heads))}
	t.w.SetStyle(borderless)
	t.w.SuppressTrailingSpaces()
	row := make(pretty.Row, len(heads))
	for i, h := range heads {
		row[i] = h
		t.columns[i].Number, t.widths[i] = i+1, text.StringWidthWithoutEscSequences(h)
	}
	t.w.AppendHeader(row)
	return t
}

// numbers sets columns, by name, to the right.
func (t *table) numbers(heads ...string) *table {
	for i, h := range t.heads {
		if slices.Contains(heads, h) {
			t.columns[i].Align, t.columns[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	return t
}

// within makes every row one line of at most width columns: spare columns are left out as far as needed, then the last one
// is cut.
func (t *table) within(width int, last string, spare ...string) *table {
	t.fitting = fitting{width: width, last: last, spare: spare}
	return t
}

// fit decides which columns are left out and how far the last one is cut.
func (t *table) fit() {
	f := t.fitting
	last := slices.Index(t.heads, f.last)
	if f.width == 0 || last < 0 {
		return
	}
	const gap = 2
	room := f.width + gap // for the last column
	for i, w := range t.widths {
		room -= w + gap
		if i == last {
			room += w
		}
	}
	for _, s := range f.spare {
		if room >= min(leastLast, t.widths[last]) {
			break
		}
		i := slices.Index(t.heads, s)
		t.columns[i].Hidden = true
		room += t.widths[i] + gap
	}
	t.columns[last].WidthMax = max(room, len(f.last))
	t.columns[last].WidthMaxEnforcer = truncate
}

func (t *table) row(cells ...any) {
	row := make(pretty.Row, len(cells))
	for i, c := range cells {
		s, ours := "", false
		if tint, ok := c.(colored); ok {
			s, ours = string(tint), true
		}
		if !ours {
			s = clean(fmt.Sprint(c))
		}
		if s == "" && t.heads[i] != "" {
			s = "-"
		}
		row[i] = s
		t.widths[i] = max(t.widths[i], text.StringWidthWithoutEscSequences(s))
	}
	t.w.AppendRow(row)
	t.rows++
}

func (t *table) render(w io.Writer) error {
	t.fit()
	t.w.SetColumnConfigs(t.columns)
	_, err := fmt.Fprintln(w, strings.TrimRight(t.w.Render(), "\n"))
	return err
}

// oneLine makes one line of several.
func oneLine(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, " ")
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

// colored is a clean cell with colours around it.
type colored string

// age is how long ago t was, in its largest unit or two.
func (a *app) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return shortDuration(a.now().Sub(t))
}

func shortDuration(d time.Duration) string {
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

// stateColor colours a state: good, bad, or under way.
func stateColor(state string) colored {
	state = clean(state)
	switch state {
	case "leader", "done", "yes", "up":
		state = text.FgGreen.Sprint(state)
	case "failed", "lost", "unreachable", "no":
		state = text.FgRed.Sprint(state)
	case "running", "candidate", "cancelled":
		state = text.FgYellow.Sprint(state)
	}
	return colored(state)
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
	return truncate(all, 48)
}
