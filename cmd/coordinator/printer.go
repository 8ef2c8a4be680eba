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

// printer prints the steps of the demo: with color and a moving bar on a terminal, as plain
// lines elsewhere.
type printer struct {
	w        io.Writer
	terminal bool
	color    bool

	mu   sync.Mutex // steps print that a leader was killed while progress moves
	last int        // quarters of progress already printed, off a terminal
}

func newPrinter(w io.Writer) *printer {
	p := &printer{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal = true
		p.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return p
}

func (p *printer) paint(c text.Colors, format string, args ...any) string {
	line := fmt.Sprintf(format, args...)
	if !p.color {
		return line
	}
	return c.Sprint(line)
}

func (p *printer) step(n int, title string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "\n%s\n", p.paint(text.Colors{text.Bold}, "%d. %s", n, title))
}

func (p *printer) title(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s\n", p.paint(text.Colors{text.Bold}, "%s", line))
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "   "+format+"\n", args...)
}

// passed prints that something which was promised was seen.
func (p *printer) passed(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mark := "ok"
	if p.terminal {
		mark = p.paint(text.Colors{text.FgGreen}, "✓")
	}
	fmt.Fprintf(p.w, "   %s %s\n", mark, fmt.Sprintf(format, args...))
}

func (p *printer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "   %s %s\n", p.paint(text.Colors{text.FgRed}, "failed:"), err)
}

func (p *printer) end(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "\n%s\n", p.paint(text.Colors{text.Bold, text.FgGreen}, "%s", line))
}

// table prints rows below a header; columns named in right are numbers.
func (p *printer) table(header table.Row, rows []table.Row, right ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	style.Format.HeaderAlign = text.AlignLeft
	if p.color {
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
		fmt.Fprint(p.w, "  ", strings.TrimRight(line, " \n"), "\n")
	}
}

// progress prints how far a job is.
func (p *printer) progress(done, total int, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if total == 0 {
		return
	}
	if p.terminal {
		const width = 30
		full := done * width / total
		fmt.Fprintf(p.w, "\r   [%s%s] %d of %d parts  %s\x1b[K", strings.Repeat("=", full), strings.Repeat(" ", width-full), done, total, note)
		if done == total {
			fmt.Fprintln(p.w)
		}
		return
	}
	quarter := done * 4 / total
	if done < total && quarter == p.last {
		return
	}
	p.last = quarter
	if done == total {
		p.last = 0
	}
	fmt.Fprintf(p.w, "   %d of %d parts done%s\n", done, total, note)
}

// interrupted ends a moving line before something else is printed.
func (p *printer) interrupted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintln(p.w)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
