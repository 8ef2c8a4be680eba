package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// show prints the tour: with colour and a moving bar on a terminal, as plain
// lines elsewhere.
type show struct {
	w        io.Writer
	terminal bool
	colour   bool

	mu   sync.Mutex // steps tell of a killed leader while progress moves
	last int        // quarters of progress already told off a terminal
}

func newShow(w io.Writer) *show {
	s := &show{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.terminal = true
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return s
}

func (s *show) paint(c text.Colors, format string, args ...any) string {
	line := fmt.Sprintf(format, args...)
	if !s.colour {
		return line
	}
	return c.Sprint(line)
}

func (s *show) step(n int, title string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "\n%s\n", s.paint(text.Colors{text.Bold}, "%d. %s", n, title))
}

func (s *show) title(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "%s\n", s.paint(text.Colors{text.Bold}, "%s", line))
}

func (s *show) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "   "+format+"\n", args...)
}

// held tells that something which was promised was seen.
func (s *show) held(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := "ok"
	if s.terminal {
		mark = s.paint(text.Colors{text.FgGreen}, "✓")
	}
	fmt.Fprintf(s.w, "   %s %s\n", mark, fmt.Sprintf(format, args...))
}

func (s *show) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "   %s %s\n", s.paint(text.Colors{text.FgRed}, "failed:"), err)
}

func (s *show) end(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "\n%s\n", s.paint(text.Colors{text.Bold, text.FgGreen}, "%s", line))
}

// table prints rows below a header; columns named in right are numbers.
func (s *show) table(header table.Row, rows []table.Row, right ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	style.Format.HeaderAlign = text.AlignLeft
	if s.colour {
		style.Color.Header = text.Colors{text.Faint}
	}
	t.SetStyle(style)
	t.AppendHeader(header)
	t.AppendRows(rows)
	var cols []table.ColumnConfig
	for _, name := range right {
		cols = append(cols, table.ColumnConfig{Name: name, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(cols)
	for line := range strings.Lines(t.Render() + "\n") {
		fmt.Fprint(s.w, "  ", strings.TrimRight(line, " \n"), "\n")
	}
}

// progress tells how far a job is.
func (s *show) progress(done, total int, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if total == 0 {
		return
	}
	if s.terminal {
		const width = 30
		full := done * width / total
		fmt.Fprintf(s.w, "\r   [%s%s] %d of %d parts  %s\x1b[K", strings.Repeat("=", full), strings.Repeat(" ", width-full), done, total, note)
		if done == total {
			fmt.Fprintln(s.w)
		}
		return
	}
	quarter := done * 4 / total
	if done < total && quarter == s.last {
		return
	}
	s.last = quarter
	if done == total {
		s.last = 0
	}
	fmt.Fprintf(s.w, "   %d of %d parts done%s\n", done, total, note)
}

// interrupted ends a moving line before something else is said.
func (s *show) interrupted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal {
		fmt.Fprintln(s.w)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
