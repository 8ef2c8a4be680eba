package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) jobsCmd() *cobra.Command {
	return group("jobs", "Work handed in", a.jobsSubmitCmd(), a.jobsRunCmd(), a.jobsListCmd(), a.jobsGetCmd(),
		a.jobsResultsCmd(), a.jobsLogsCmd(), a.jobsCancelCmd())
}

func (a *app) jobsListCmd() *cobra.Command {
	r := reading{wantWatch: true}
	var sel client.Jobs
	cmd := r.define(&cobra.Command{
		Use: "list", Short: "List jobs", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Example: "  raftctl jobs list\n  raftctl jobs list --state running --watch",
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
	f.IntVar(&sel.Limit, "limit", 0, "at most so many; 0 is all")
	f.StringVar(&sel.After, "after", "", "only after this id")
	cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"queued", "running", "done", "failed", "cancelled"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// allJobs follows the pages, unless one page was asked for. Several pages are one body.
func (a *app) allJobs(ctx context.Context, sel client.Jobs, read client.Read) ([]wire.Job, client.Meta, error) {
	sel.Read = read
	page, meta, err := a.client.Jobs(ctx, sel)
	if err != nil || page.Next == "" || sel.Limit > 0 {
		return page.Jobs, meta, err
	}
	all := page.Jobs
	for page.Next != "" {
		sel.After, sel.Read = page.Next, client.Read{Consistency: read.Consistency}
		if page, _, err = a.client.Jobs(ctx, sel); err != nil {
			return nil, meta, err
		}
		all = append(all, page.Jobs...)
	}
	meta.Body, err = json.Marshal(wire.Jobs{Jobs: all})
	return all, meta, err
}

func (a *app) jobsTable(rows []wire.Job, wide bool) *table {
	heads := []string{"id", "name", "state", "done", "failed", "retries", "age", "took", "reason"}
	if wide {
		heads = append(heads, "runtime", "priority", "group", "waiting", "running", "by", "index")
	}
	t := a.table(heads...).numbers("done", "failed", "retries", "age", "took", "priority", "waiting", "running", "index")
	for _, j := range rows {
		took := ""
		switch {
		case !j.Ended.IsZero() && !j.Started.IsZero():
			took = span(j.Ended.Sub(j.Started))
		case !j.Started.IsZero():
			took = a.age(j.Started)
		}
		cells := []any{
			j.ID, j.Name, mood(j.State), fmt.Sprintf("%d/%d", j.Parts.Done, j.Parts.Total), j.Parts.Failed + j.Parts.Lost,
			j.Parts.Retries, a.age(j.Submitted), took, brief(j.Reason, 60),
		}
		if wide {
			cells = append(cells, j.Runtime, j.Priority, j.Group, j.Parts.Waiting, j.Parts.Running+j.Parts.Assigned, j.By, j.Index)
		}
		t.row(cells...)
	}
	return t
}

// brief cuts s to n characters.
func brief(s string, n int) string {
	r := []rune(clean(s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

func (a *app) jobsGetCmd() *cobra.Command {
	var r reading
	var parts bool
	cmd := r.define(&cobra.Command{
		Use: "get ID", Short: "Show one job, or its parts", Args: cobra.ExactArgs(1),
		Example:           "  raftctl jobs get quality -o yaml\n  raftctl jobs get quality --parts",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if parts {
				rows, body, err := a.allParts(cmd.Context(), args[0], r.read())
				if err != nil {
					return err
				}
				v := answer{body: body, table: func(wide bool) *table { return a.partsTable(rows, wide) }}
				for _, p := range rows {
					v.names = append(v.names, fmt.Sprintf("part/%s/%d", p.Job, p.Part))
				}
				return a.show(a.out, v)
			}
			j, meta, err := a.client.Job(cmd.Context(), args[0], r.read())
			if err != nil {
				return err
			}
			return a.show(a.out, answer{
				body: meta.Body, names: []string{"job/" + j.ID},
				table: func(wide bool) *table { return a.jobsTable([]wire.Job{j}, wide) },
			})
		},
	})
	cmd.Flags().BoolVar(&parts, "parts", false, "its parts instead")
	return cmd
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
		cells := []any{p.Part, mood(p.State), p.Attempt, p.Worker, ms, brief(string(p.Item), 40), brief(resultOf(p.Result, p.Error), 60)}
		if wide {
			cells = append(cells, p.Home, p.Failures, p.Losses)
		}
		t.row(cells...)
	}
	return t
}

// resultOf is a result, or what the error there is instead comes down to; JSON has all of it.
func resultOf(result json.RawMessage, err string) string {
	if err != "" {
		return lastLine(err)
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
