package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// adaptLogger lets hashicorp's libraries write to l; levels are l's own.
func adaptLogger(l *slog.Logger) hclog.Logger { return &logAdapter{to: l} }

type logAdapter struct {
	to   *slog.Logger
	name string
	args []any
}

var levels = map[hclog.Level]slog.Level{
	hclog.Trace: slog.LevelDebug - 4,
	hclog.Debug: slog.LevelDebug,
	// What the libraries log at info level is detail to an operator of ours:
	// the node logs elections and membership itself.
	hclog.Info:  slog.LevelDebug,
	hclog.Warn:  slog.LevelWarn,
	hclog.Error: slog.LevelError,
}

func (a *logAdapter) Log(level hclog.Level, msg string, args ...any) {
	to, ok := levels[level]
	if !ok {
		to = slog.LevelInfo
	}
	if slices.ContainsFunc(args, closedHere) {
		to = slog.LevelDebug
	}
	if !a.to.Enabled(context.Background(), to) {
		return
	}
	all := make([]any, 0, len(args))
	for _, v := range args {
		switch v := v.(type) {
		case hclog.Format: // a format and its values
			all = append(all, fmt.Sprintf(v[0].(string), v[1:]...))
		case fmt.Stringer:
			all = append(all, v.String())
		default:
			all = append(all, v)
		}
	}
	if a.name != "" {
		msg = a.name + ": " + msg
	}
	a.to.Log(context.Background(), to, msg, all...)
}

// closedHere reports whether an argument is the error of a connection that this process has closed: at
// its end, or since it is used no more.
func closedHere(arg any) bool {
	err, ok := arg.(error)
	return ok && errors.Is(err, net.ErrClosed)
}

func (a *logAdapter) Trace(msg string, args ...any) { a.Log(hclog.Trace, msg, args...) }
func (a *logAdapter) Debug(msg string, args ...any) { a.Log(hclog.Debug, msg, args...) }
func (a *logAdapter) Info(msg string, args ...any)  { a.Log(hclog.Info, msg, args...) }
func (a *logAdapter) Warn(msg string, args ...any)  { a.Log(hclog.Warn, msg, args...) }
func (a *logAdapter) Error(msg string, args ...any) { a.Log(hclog.Error, msg, args...) }

func (a *logAdapter) is(l hclog.Level) bool { return a.to.Enabled(context.Background(), levels[l]) }
func (a *logAdapter) IsTrace() bool         { return a.is(hclog.Trace) }
func (a *logAdapter) IsDebug() bool         { return a.is(hclog.Debug) }
func (a *logAdapter) IsInfo() bool          { return a.is(hclog.Info) }
func (a *logAdapter) IsWarn() bool          { return a.is(hclog.Warn) }
func (a *logAdapter) IsError() bool         { return a.is(hclog.Error) }
func (a *logAdapter) ImpliedArgs() []any    { return a.args }
func (a *logAdapter) Name() string          { return a.name }

func (a *logAdapter) With(args ...any) hclog.Logger {
	return &logAdapter{to: a.to.With(args...), name: a.name, args: append(a.args[:len(a.args):len(a.args)], args...)}
}

func (a *logAdapter) Named(name string) hclog.Logger {
	if a.name != "" {
		name = a.name + "." + name
	}
	return a.ResetNamed(name)
}

func (a *logAdapter) ResetNamed(name string) hclog.Logger {
	return &logAdapter{to: a.to, name: name, args: a.args}
}

func (a *logAdapter) SetLevel(hclog.Level)  {}
func (a *logAdapter) GetLevel() hclog.Level { return hclog.Info }
func (a *logAdapter) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(a.to.Handler(), slog.LevelInfo)
}

func (a *logAdapter) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return a.StandardLogger(nil).Writer()
}
