package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) jobsResultsCmd() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "results ID", Short: "Print the results of a job's parts", Args: cobra.ExactArgs(1),
		Long:              "Prints the results there are, in the order of the parts; with --follow as they come, until the job has ended. JSON is one line a part.",
		Example:           "  raftctl jobs results quality\n  raftctl jobs results quality --follow -o json",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				j, _, err := a.client.Job(cmd.Context(), args[0], client.Read{})
				if err != nil {
					return err
				}
				return a.follow(cmd.Context(), j)
			}
			var rows []wire.PartResult
			for r, err := range a.client.Results(cmd.Context(), args[0], false) {
				if err != nil {
					return err
				}
				rows = append(rows, r)
			}
			return a.showResults(rows)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for the end; exit 1 if the job did not end as done")
	return cmd
}

// showResults prints all at once: a table, or what showResult prints of each.
func (a *app) showResults(rows []wire.PartResult) error {
	if a.flags.output != "table" && a.flags.output != "wide" {
		for _, r := range rows {
			if err := a.showResult(a.out, r); err != nil {
				return err
			}
		}
		return nil
	}
	t := a.table("part", "state", "attempt", "worker", "ms", "result").numbers("part", "attempt", "ms")
	var left tally
	var errs reasons
	for _, r := range rows {
		if !left.shouldShow(a, r) {
			continue
		}
		if multiline(r.Error) {
			errs.add(r.Part, r.Error, r.Error)
		}
		t.row(r.Part, stateColor(r.State), r.Attempt, r.Worker, r.Millis, resultOf(compact(r.Result), r.Error))
	}
	if err := t.render(a.out); err != nil {
		return err
	}
	errs.printMultiline(a.out)
	left.printRest(a)
	return nil
}

// tally chooses which results of parts that are not done are printed for a person, and counts the others: a job that fails
// ends all its other parts with it, up to 100,000.
type tally struct {
	failed, failedMore, cancelled int
	whole                         map[string]bool // errors that were printed with all their lines
}

// firstSeen reports whether an error of several lines is printed for the first time.
func (t *tally) firstSeen(err string) bool {
	if !multiline(err) || t.whole[err] {
		return false
	}
	if t.whole == nil {
		t.whole = map[string]bool{}
	}
	t.whole[err] = true
	return true
}

// shownFailures is how many parts that failed are printed one by one.
const shownFailures = 20

// shouldShow reports whether r is printed by itself; programs and -o wide get everything.
func (t *tally) shouldShow(a *app, r wire.PartResult) bool {
	if a.flags.output != "table" {
		return true
	}
	switch {
	case r.State == "done":
	case r.State == "cancelled" && r.Error == "":
		t.cancelled++
		return false
	case t.failed < shownFailures:
		t.failed++
	default:
		t.failedMore++
		return false
	}
	return true
}

// printRest prints how many were not printed one by one.
func (t *tally) printRest(a *app) {
	for _, c := range []struct {
		n   int
		how string
	}{{t.failedMore, "failed as well"}, {t.cancelled, "cancelled"}} {
		switch {
		case c.n == 1:
			fmt.Fprintf(a.err, "1 part %s (listed by -o wide)\n", c.how)
		case c.n > 1:
			fmt.Fprintf(a.err, "%d parts %s (listed by -o wide)\n", c.n, c.how)
		}
	}
}

// showResult prints one result, a line.
func (a *app) showResult(w io.Writer, r wire.PartResult) error {
	switch a.flags.output {
	case "name":
		_, err := fmt.Fprintf(w, "part/%d\n", r.Part)
		return err
	case "json", "yaml":
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(r); err != nil {
			return err
		}
		if a.flags.output == "yaml" {
			fmt.Fprintln(w, "---")
			return writeYAML(w, b.Bytes())
		}
		return writeJSON(w, b.Bytes())
	}
	_, err := fmt.Fprintf(w, "part %d %s by %s in %dms: %s\n", r.Part, stateColor(r.State), orDash(r.Worker), r.Millis,
		clean(resultOf(compact(r.Result), r.Error)))
	return err
}

// follow prints a job's results until its end: on a terminal below a bar of progress, then as a table; else as they come.
// A job that did not end as done is a failure.
func (a *app) follow(ctx context.Context, j wire.Job) error {
	bar := a.bar(j)
	defer bar.stop()
	var rows []wire.PartResult
	var left tally
	for r, err := range a.client.Results(ctx, j.ID, true) {
		if err != nil {
			bar.stop()
			if errors.Is(err, context.Canceled) {
				fmt.Fprintf(a.err, "interrupted; the job goes on: raftctl jobs results %s --follow\n", j.ID)
				return errReported
			}
			return err
		}
		visible := left.shouldShow(a, r)
		bar.add(r, visible)
		if bar.shown() {
			rows = append(rows, r)
		} else if visible {
			if err := a.showResult(a.out, r); err != nil {
				return err
			}
			if programs := a.flags.output != "table" && a.flags.output != "wide"; !programs && left.firstSeen(r.Error) {
				if _, err := io.WriteString(a.out, indented(r.Error)); err != nil {
					return err
				}
			}
		}
	}
	bar.stop()
	if bar.shown() {
		if err := a.showResults(rows); err != nil {
			return err
		}
	} else {
		left.printRest(a)
	}
	// The stream's end is the job's: look at how it ended, from a state that has it.
	end, _, err := a.client.Job(ctx, j.ID, client.Read{})
	if err != nil {
		return err
	}
	line := fmt.Sprintf("job %s %s: %s", end.ID, jobOutcome(end), partCounts(end.Parts))
	if !end.Ended.IsZero() && !end.Submitted.IsZero() {
		line += ", " + shortDuration(end.Ended.Sub(end.Submitted))
	}
	fmt.Fprintln(a.err, line)
	if end.State != "done" {
		return errReported
	}
	return nil
}

// partCounts tells a job's parts by state.
func partCounts(p wire.PartCounts) string {
	line := fmt.Sprintf("%d of %d parts done", p.Done, p.Total)
	for _, c := range []struct {
		n    int
		what string
	}{
		{p.Running, "running"},
		{p.Assigned, "assigned"},
		{p.Waiting, "waiting"},
		{p.Failed, "failed"},
		{p.Lost, "lost"},
		{p.Cancelled, "cancelled"},
		{p.Retries, "retries"},
	} {
		if c.n > 0 {
			line += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return line
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return clean(s)
}

// compact takes line feeds out of a result.
func compact(result json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, result) != nil {
		return result
	}
	return b.Bytes()
}
