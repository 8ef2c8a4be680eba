package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) jobsCmd() *cobra.Command {
	return group("jobs", "Work handed in", a.jobsSubmitCmd(), a.jobsRunCmd(), a.jobsListCmd(), a.jobsGetCmd(),
		a.jobsResultsCmd(), a.jobsLogsCmd(), a.jobsCancelCmd(), a.jobsForgetCmd())
}

func (a *app) jobsListCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	var sel client.Jobs
	cmd := r.define(&cobra.Command{
		Use: "list", Short: "List jobs, the newest first", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Long: "Lists jobs, the newest first, one line each. On a terminal the columns that do not fit are left out and the reason is\n" +
			"cut; it is whole in a pipe and by -o wide. -o json is the REST answer, which is in the order of the ids.",
		Example: "  raftctl jobs list\n  raftctl jobs list --namespace lab1 --limit 10\n  raftctl jobs list --state running --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				rows, meta, err := a.allJobs(ctx, sel, read)
				v := answer{body: meta.Body, table: func(wide bool) *table { return a.jobsTable(rows, wide) }}
				for _, j := range rows {
					v.names = append(v.names, "job/"+j.ID)
				}
				return v, meta, err
			})
		},
	})
	f := cmd.Flags()
	f.StringVar(&sel.State, "state", "", "only in this state")
	f.StringVar(&sel.Group, "group", "", "only of this group")
	f.StringVar(&sel.Namespace, "namespace", "", "only of this namespace, which the token must be allowed to read")
	f.IntVar(&sel.Limit, "limit", 0, "at most so many, the newest; with --after a page by id; 0 is all")
	f.StringVar(&sel.After, "after", "", "only ids after this one")
	cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"queued", "running", "done", "failed", "cancelled"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// allJobs lists jobs, the newest first. It follows the pages, unless one page was asked for by --after. What is not one
// answer as it came is one body made of several.
func (a *app) allJobs(ctx context.Context, sel client.Jobs, read client.Read) ([]wire.Job, client.Meta, error) {
	newest := 0
	if sel.After == "" {
		newest, sel.Limit = sel.Limit, 0
	}
	sel.Read = read
	page, meta, err := a.client.Jobs(ctx, sel)
	if err != nil {
		return nil, meta, err
	}
	all, whole := page.Jobs, true
	for page.Next != "" && sel.Limit == 0 {
		whole = false
		sel.After, sel.Read = page.Next, client.Read{Consistency: read.Consistency}
		if page, _, err = a.client.Jobs(ctx, sel); err != nil {
			return nil, meta, err
		}
		all = append(all, page.Jobs...)
	}
	slices.SortStableFunc(all, func(x, y wire.Job) int {
		return cmp.Or(y.Submitted.Compare(x.Submitted), cmp.Compare(y.ID, x.ID))
	})
	if newest > 0 && newest < len(all) {
		all, whole = all[:newest], false
	}
	if !whole {
		meta.Body, err = json.Marshal(wire.Jobs{Jobs: all})
	}
	return all, meta, err
}

func (a *app) jobsTable(rows []wire.Job, wide bool) *table {
	heads := []string{"id", "name", "state", "done", "failed", "retries", "age", "took", "reason"}
	if wide {
		heads = append(heads, "runtime", "namespace", "priority", "group", "waiting", "running", "by", "index")
	}
	t := a.table(heads...).numbers("done", "failed", "retries", "age", "took", "priority", "waiting", "running", "index")
	if !wide {
		t.within(a.width(), "reason", "retries", "took", "failed", "name")
	}
	for _, j := range rows {
		reason := oneLine(j.Reason)
		if !wide && a.width() > 0 {
			reason = givenUp.ReplaceAllString(reason, "part $1: ")
		}
		cells := []any{
			j.ID, j.Name, stateColor(j.State), fmt.Sprintf("%d/%d", j.Parts.Done, j.Parts.Total), j.Parts.Failed + j.Parts.Lost,
			j.Parts.Retries, a.age(j.Submitted), a.elapsed(j), reason,
		}
		if wide {
			cells = append(cells, j.Runtime, cmp.Or(j.Namespace, "default"), j.Priority, j.Group, j.Parts.Waiting, j.Parts.Running+j.Parts.Assigned, j.By, j.Index)
		}
		t.row(cells...)
	}
	return t
}

// givenUp begins the reason of a job that failed; what is worth the little room of a terminal is behind it.
var givenUp = regexp.MustCompile(`^part (\d+) was (?:tried|lost) \d+ times[^:]*: `)

// elapsed is how long a job ran, or has been running.
func (a *app) elapsed(j wire.Job) string {
	switch {
	case j.Started.IsZero():
		return ""
	case j.Ended.IsZero():
		return a.age(j.Started)
	}
	return shortDuration(j.Ended.Sub(j.Started))
}

// truncate cuts s to n characters.
func truncate(s string, n int) string {
	r := []rune(clean(s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

func (a *app) jobsGetCmd() *cobra.Command {
	var r readFlags
	var parts bool
	cmd := r.define(&cobra.Command{
		Use: "get ID", Short: "Show one job, or its parts", Args: cobra.ExactArgs(1),
		Long:              "Shows a job: its parts by state, its times and limits, and why parts failed, the most frequent reason first.",
		Example:           "  raftctl jobs get quality -o yaml\n  raftctl jobs get quality --parts",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if parts {
				rows, body, err := a.allParts(cmd.Context(), args[0], r.read())
				if err != nil {
					return a.explainBehind(cmd.Context(), r, err)
				}
				var errs reasons
				v := answer{body: body, table: func(wide bool) *table { return a.partsTable(rows, wide) }, below: func(w io.Writer) { errs.printMultiline(w) }}
				for _, p := range rows {
					if multiline(p.Error) {
						errs.add(p.Part, p.Error, p.Error)
					}
					v.names = append(v.names, fmt.Sprintf("part/%s/%d", p.Job, p.Part))
				}
				return a.show(a.out, v)
			}
			j, meta, err := a.client.Job(cmd.Context(), args[0], r.read())
			if err != nil {
				return a.explainBehind(cmd.Context(), r, err)
			}
			var failed reasons
			if a.flags.output == "table" || a.flags.output == "wide" {
				if failed, err = a.failures(cmd.Context(), j, r.read()); err != nil {
					return err
				}
			}
			return a.show(a.out, answer{
				body: meta.Body, names: []string{"job/" + j.ID},
				table: func(wide bool) *table { return a.jobTable(j, failed, wide) },
				below: failed.printMultiline,
			})
		},
	})
	cmd.Flags().BoolVar(&parts, "parts", false, "its parts instead")
	return cmd
}

// jobTable is one job, a line for each thing to know.
func (a *app) jobTable(j wire.Job, failed reasons, wide bool) *table {
	t := a.table("", "")
	t.w.ResetHeaders()
	at := func(what string, when time.Time, after string) {
		if !when.IsZero() {
			t.row(what, fmt.Sprintf("%s, %s ago%s", when.Local().Format("2006-01-02 15:04:05"), a.age(when), after))
		}
	}
	t.row("job", j.ID)
	if j.Name != "" {
		t.row("name", j.Name)
	}
	if j.Namespace != "" {
		t.row("namespace", j.Namespace)
	}
	t.row("state", stateColor(j.State))
	if j.Reason != "" {
		t.row("reason", oneLine(j.Reason))
	}
	t.row("parts", partCounts(j.Parts))
	what := "failures"
	for _, line := range failed.lines() {
		t.row(what, line)
		what = ""
	}
	by := ""
	if j.By != "" {
		by = ", by " + j.By
	}
	at("submitted", j.Submitted, by)
	at("started", j.Started, "")
	at("ended", j.Ended, ", kept for "+durationText(j.Keep))
	if !j.Started.IsZero() {
		t.row("took", a.elapsed(j))
	}
	t.row("runs", jobLimits(j))
	if len(j.Labels) > 0 {
		t.row("labels", labels(j.Labels, true))
	}
	if wide {
		t.row("index", j.Index)
		t.row("script", fmt.Sprintf("%d bytes", len(j.Script)))
		t.row("args", fmt.Sprintf("%d bytes", len(j.Args)))
	}
	return t
}

// durationText writes a duration without its zeros: 24h, 1m30s.
func durationText(d wire.Duration) string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// jobLimits tells how a job's parts are run.
func jobLimits(j wire.Job) string {
	out := fmt.Sprintf("%s, priority %d, at most %d tries of %s a part", j.Runtime, j.Priority, j.MaxAttempts, durationText(j.PartTimeout))
	if j.Parallel > 0 {
		out += fmt.Sprintf(", %d parts at once", j.Parallel)
	}
	if j.Timeout > 0 {
		out += ", " + durationText(j.Timeout) + " for the job"
	}
	if j.Group != "" {
		out += ", alone in group " + j.Group
	}
	return out
}

func (a *app) allParts(ctx context.Context, id string, read client.Read) ([]wire.Part, []byte, error) {
	page, meta, err := a.client.Parts(ctx, id, client.Page{}, read)
	if err != nil || page.Next == "" {
		return page.Parts, meta.Body, err
	}
	all := page.Parts
	for page.Next != "" {
		if page, _, err = a.client.Parts(ctx, id, client.Page{After: page.Next}, client.Read{Consistency: read.Consistency}); err != nil {
			return nil, nil, err
		}
		all = append(all, page.Parts...)
	}
	body, err := json.Marshal(wire.Parts{Parts: all})
	return all, body, err
}

func (a *app) partsTable(rows []wire.Part, wide bool) *table {
	heads := []string{"part", "state", "attempt", "worker", "ms", "item", "result"}
	if wide {
		heads = append(heads, "home", "failures", "losses")
	}
	t := a.table(heads...).numbers("part", "attempt", "ms", "failures", "losses")
	for _, p := range rows {
		ms := ""
		if p.Millis > 0 || client.Final(p.State) {
			ms = strconv.FormatInt(p.Millis, 10)
		}
		cells := []any{p.Part, stateColor(p.State), p.Attempt, p.Worker, ms, truncate(string(p.Item), 40), truncate(resultOf(p.Result, p.Error), 60)}
		if wide {
			cells = append(cells, p.Home, p.Failures, p.Losses)
		}
		t.row(cells...)
	}
	return t
}

// resultOf is a result, or what the error there is instead comes down to.
func resultOf(result json.RawMessage, err string) string {
	if err != "" {
		return summaryLine(err)
	}
	return string(result)
}

func (a *app) jobsCancelCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "cancel ID...", Short: "Stop jobs", Args: cobra.MinimumNArgs(1),
		Example:           "  raftctl jobs cancel quality\n  raftctl jobs cancel quality --reason 'wrong input'",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, id := range args {
				j, meta, err := a.client.CancelJob(cmd.Context(), id, reason)
				if err != nil {
					return err
				}
				if err := a.done(meta.Body, "job/"+id, "job %s %s", id, j.State); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "kept with the job")
	return cmd
}

func (a *app) jobsForgetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "forget ID...", Short: "Remove jobs that have ended, with their results and logs", Args: cobra.MinimumNArgs(1),
		Long:              "Remove jobs that have ended, with their results and logs, before their keep is over. It makes room at all coordinators.",
		Example:           "  raftctl jobs forget quality --yes\n  raftctl jobs list --state done -o name | cut -d/ -f2 | xargs raftctl jobs forget --yes",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm(fmt.Sprintf("forget %s with all results and logs", strings.Join(args, ", "))); err != nil {
				return err
			}
			for _, id := range args {
				_, meta, err := a.client.ForgetJob(cmd.Context(), id)
				if err != nil {
					return err
				}
				if err := a.done(meta.Body, "job/"+id, "job %s forgotten", id); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
