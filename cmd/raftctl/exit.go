package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// Exit codes; scripts hold on to them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitUnknown     = 4
)

// usageError is a command line that cannot be carried out as it is.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// errReported is a failure of which everything has been said already.
var errReported = errors.New("reported")

// report prints err on stderr, naming what was asked of whom, and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	name := "raftctl"
	if cmd != nil {
		name = cmd.CommandPath()
	}
	var u usageError
	if errors.As(err, &u) || !a.started {
		fmt.Fprintf(a.err, "%s: %v\nSee %s --help.\n", name, err, name)
		return exitUsage
	}
	if errors.Is(err, errReported) {
		return exitFailed
	}
	fmt.Fprintf(a.err, "%s: %v\n", name, err)
	var ce *client.CallError
	if errors.As(err, &ce) {
		a.hint(ce)
	}
	var behind behindError
	switch {
	case errors.As(err, &behind):
		return exitUnavailable
	case ce != nil && ce.Err.Code == wire.CodeUnavailable:
		return exitUnavailable
	case ce != nil && (ce.Err.Code == wire.CodeUnknown || ce.Err.Code == wire.CodeInternal && ce.Method != "GET"):
		return exitUnknown
	case errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	}
	return exitFailed
}

// explainNoLeader prints what a coordinator that knows no leader is good for, and what there would have to be for more.
func (a *app) explainNoLeader(e *client.CallError) {
	can := "; raftctl status and members list --stale tell what this one sees"
	if e.Method != "GET" {
		fmt.Fprintln(a.err, "nothing was done: it is safe to repeat it")
	} else if e.Path != "/leader" {
		can = "; lists are read without one by --stale, and may be old"
	}
	fmt.Fprintf(a.err, "a leader needs more than half of the voters up and in reach of each other%s\n", can)
}

// signPath is the one call that is made with a join token.
const signPath = "/ca/sign"

// hint prints what to do next, where that is known.
func (a *app) hint(e *client.CallError) {
	switch e.Err.Code {
	case wire.CodeUnavailable:
		switch {
		case e.RequestID == "":
			fmt.Fprintf(a.err, "asked: %s (choose others by --addr or FOLKMOOT_ADDR)\n", strings.Join(a.client.Addrs(), ", "))
		case e.Meta.Leader == "":
			a.explainNoLeader(e)
		case e.Method != "GET":
			fmt.Fprintln(a.err, "nothing was done: it is safe to repeat it")
		}
	case wire.CodeUnknown:
		if e.Path == signPath {
			break // the message says what to do
		}
		fmt.Fprintln(a.err, "it may or may not have happened: look before you repeat it")
	case wire.CodeUnauthorized:
		if e.Path == signPath {
			break
		}
		if a.flags.client.Token == "" && a.flags.client.TokenFile == "" {
			fmt.Fprintln(a.err, "no token was sent: give one by --token-file, FOLKMOOT_TOKEN_FILE or a context")
		} else {
			fmt.Fprintln(a.err, "another token is given by --token-file, FOLKMOOT_TOKEN_FILE or a context; raftctl config show --origin tells where this one comes from")
		}
	case wire.CodeForbidden:
		if e.Err.Needs != "" {
			fmt.Fprintf(a.err, "token %s has no grant for it; whoever has one of admin makes a token that has: raftctl tokens create --grant %s\n", clean(e.Err.Token), clean(e.Err.Needs))
		}
	}
	if e.Err.RetryAfter > 0 && e.Err.Code == wire.CodeBusy {
		fmt.Fprintf(a.err, "try again in %s\n", e.Err.RetryAfter)
	}
	if e.RequestID != "" {
		fmt.Fprintf(a.err, "request %s\n", e.RequestID)
	}
}
