package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// fetch asks for a list that is newer than r says.
type fetch func(ctx context.Context, r client.Read) (answer, client.Meta, error)

// readFlags are the flags of commands that read.
type readFlags struct {
	consistency      string
	stale, strict    bool
	index            uint64
	watch, wantWatch bool
}

func (r *readFlags) define(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.StringVar(&r.consistency, "consistency", "", "stale, default or strict")
	f.BoolVar(&r.stale, "stale", false, "the same as --consistency stale")
	f.BoolVar(&r.strict, "consistent", false, "the same as --consistency strict")
	f.Uint64Var(&r.index, "index", 0, "at least as new as this index; exit 3 if it is not reached within --timeout")
	if r.wantWatch {
		f.BoolVarP(&r.watch, "watch", "w", false, "show it again whenever it changes")
	}
	cmd.MarkFlagsMutuallyExclusive("stale", "consistent", "consistency")
	cmd.RegisterFlagCompletionFunc("consistency", cobra.FixedCompletions([]string{"stale", "default", "strict"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (r *readFlags) read() client.Read {
	out := client.Read{Consistency: r.consistency, Index: r.index}
	if r.stale {
		out.Consistency = "stale"
	}
	if r.strict {
		out.Consistency = "strict"
	}
	return out
}

// behindError says that nobody was as new as --index in time.
type behindError struct{ index, reached uint64 }

func (e behindError) Error() string {
	return fmt.Sprintf("--index %d was not reached in time: the state is at index %d", e.index, e.reached)
}

// explainBehind tells of a read that failed because of --index, which was not reached, how far the state is.
func (a *app) explainBehind(ctx context.Context, r readFlags, err error) error {
	var ce *client.CallError
	if r.index == 0 || ctx.Err() != nil || !errors.As(err, &ce) || ce.Err.Code != wire.CodeUnavailable {
		return err
	}
	reached := ce.Meta.Index
	if reached == 0 { // silent until the time was up
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		s, _, serr := a.client.Status(ctx)
		if serr != nil {
			return err
		}
		reached = s.AppliedIndex
	}
	if reached >= r.index {
		return err
	}
	return behindError{r.index, reached}
}

// list shows what get gives: once, or with --watch again at every change, until interrupted. every is how often to look
// where the answer holds more than the replicated state; 0 waits for the index to move.
func (a *app) list(ctx context.Context, r readFlags, every time.Duration, get fetch) error {
	v, meta, err := get(ctx, r.read())
	if err != nil {
		return a.explainBehind(ctx, r, err)
	}
	if !r.watch {
		if err := a.show(a.out, v); err != nil {
			return err
		}
		if meta.Filtered && (a.flags.output == "table" || a.flags.output == "wide") {
			fmt.Fprintln(a.err, "only what this token may read")
		}
		return nil
	}
	next := r.read()
	var last string
	for {
		if err == nil {
			if err := a.redrawChanged(v, &last); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			fmt.Fprintf(a.err, "raftctl: %v\n", err)
		}
		wait := every
		if every == 0 && err == nil {
			if next.Index, next.Cluster = meta.Index, meta.Cluster; next.Index > 0 {
				next.Wait, wait = 30*time.Second, 100*time.Millisecond
			}
		}
		// Ages grow while nothing changes: they are shown anew meanwhile, where the screen is drawn over.
		type news struct {
			v    answer
			meta client.Meta
			err  error
		}
		come := make(chan news, 1)
		go func() {
			select {
			case <-time.After(max(wait, 100*time.Millisecond)):
			case <-ctx.Done():
			}
			var n news
			n.v, n.meta, n.err = get(ctx, next)
			come <- n
		}()
		shown, failed := v, err != nil
		for waiting := true; waiting; {
			select {
			case n := <-come:
				v, meta, err, waiting = n.v, n.meta, n.err, false
			case <-time.After(time.Second):
				if a.width() == 0 || failed {
					continue
				}
				if err := a.redrawChanged(shown, &last); err != nil {
					<-come
					return err
				}
			}
		}
	}
}

// redrawChanged shows v if it looks otherwise than what was shown last.
func (a *app) redrawChanged(v answer, last *string) error {
	var b bytes.Buffer
	if err := a.show(&b, v); err != nil {
		return err
	}
	if b.String() == *last {
		return nil
	}
	*last = b.String()
	return a.redraw(*last)
}

// redraw shows a new state of a watched list: on a terminal in place of the old one, else below it.
func (a *app) redraw(s string) error {
	if a.width() > 0 {
		_, err := io.WriteString(a.out, "\x1b[H\x1b[2J"+s)
		return err
	}
	if a.flags.output == "table" || a.flags.output == "wide" {
		s = strings.TrimRight(s, "\n") + "\n\n"
	} else if a.flags.output == "yaml" {
		s = "---\n" + s
	}
	_, err := io.WriteString(a.out, s)
	return err
}
