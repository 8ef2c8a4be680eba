package settings

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Logging is how a program logs.
type Logging struct {
	Format string // text, json, or "": text on a terminal, else json
	Level  string // debug, info, warn or error
}

// Declare declares --log-format and --log-level.
func (l *Logging) Declare(f *pflag.FlagSet, level string) {
	f.StringVar(&l.Format, "log-format", "", "text or json (default: text on a terminal, else json)")
	f.StringVar(&l.Level, "log-level", level, "debug, info, warn or error")
}

// Open returns a logger on w and its level, which may be changed. What it writes goes to
// copies as well.
func (l Logging) Open(w io.Writer, copies ...io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return nil, nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", l.Level)
	}
	format := l.Format
	if format == "" {
		format = "json"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			format = "text"
		}
	}
	w = io.MultiWriter(append([]io.Writer{w}, copies...)...)
	opts := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), level, nil
	default:
		return nil, nil, fmt.Errorf("--log-format %q: want text or json", l.Format)
	}
}
