package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) eventsCmd() *cobra.Command {
	var sel client.Events
	var follow bool
	cmd := &cobra.Command{
		Use: "events", Short: "News of what changed", Args: cobra.NoArgs,
		Long: "Without --follow it tells the news from --index up to now and ends; with it, it goes on until interrupted, at the\n" +
			"next coordinator when one goes away. \"lagged\" means that some news are too old to be told: list, then go on.",
		Example: "  raftctl events --follow\n  raftctl events --follow --topic component,member\n  raftctl events --index 800 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			var last uint64
			if !follow {
				_, meta, err := a.client.Members(ctx, client.Read{})
				if err != nil {
					return err
				}
				if last = meta.Index; sel.Index == 0 {
					sel.Index = 1
				}
			}
			// News have no mark for their end, but those of the past are told at once: silence is the end.
			borderless := time.AfterFunc(time.Second, func() {
				if !follow {
					cancel()
				}
			})
			defer borderless.Stop()
			for e, err := range a.client.Events(ctx, sel) {
				switch {
				case ctx.Err() != nil, errors.Is(err, context.Canceled):
					return nil
				case err != nil:
					return err
				case !follow && e.Index > last:
					return nil
				}
				if err := a.showEvent(a.out, e); err != nil {
					return err
				}
				borderless.Reset(300 * time.Millisecond)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	f.StringSliceVar(&sel.Topics, "topic", nil, "only component, job, member, ...")
	f.Uint64Var(&sel.Index, "index", 0, "news after this index")
	cmd.RegisterFlagCompletionFunc("topic", cobra.FixedCompletions([]string{
		wire.TopicComponent, wire.TopicJob, wire.TopicMember,
		wire.TopicService, wire.TopicLock, wire.TopicFlow,
	}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// showEvent prints one event a line; lines are aligned as long as the words are of usual length.
func (a *app) showEvent(w io.Writer, e wire.Event) error {
	switch a.flags.output {
	case "json", "yaml":
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if a.flags.output == "yaml" {
			fmt.Fprintln(w, "---")
			return writeYAML(w, b)
		}
		return writeJSON(w, b)
	case "name":
		_, err := fmt.Fprintf(w, "%s/%s\n", e.Topic, clean(e.Key))
		return err
	}
	line := fmt.Sprintf("%-8d  %s  %-9s  %-13s  %s", e.Index, e.At.Local().Format("15:04:05.000"), clean(e.Topic), clean(e.Kind), clean(e.Key)+detail(e))
	if e.Reason != "" {
		line += "  (" + lastLine(e.Reason) + ")"
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// detail is what of an event its key does not: which part of a job, which try of it, and by whom.
func detail(e wire.Event) string {
	data, _ := e.Data.(json.RawMessage)
	if e.Topic != wire.TopicJob || !strings.HasPrefix(e.Kind, "part_") {
		return ""
	}
	var p wire.Part
	if json.Unmarshal(data, &p) != nil {
		return ""
	}
	out := fmt.Sprintf(" part %d", p.Part)
	if p.Attempt > 0 {
		out += fmt.Sprintf(" try %d", p.Attempt)
	}
	if p.Worker != "" {
		out += " by " + clean(p.Worker)
	}
	return out
}

// lastLine is what a long reason comes down to.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return truncate(s[strings.LastIndexByte(s, '\n')+1:], 120)
}
