package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/audit/trail"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) auditCmd() *cobra.Command {
	return group("audit", "Who asked for what, and what came of it", a.auditTailCmd(), a.auditVerifyCmd())
}

func (a *app) auditVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify DIR", Short: "Hold the files of an audit trail to what was written", Args: cobra.ExactArgs(1),
		Long: "It reads the files of one coordinator's trail, also while that runs, and names the first file and line that are not\n" +
			"as they were written: changed, missing, out of order, or cut. With --addr it also asks a coordinator what the cluster\n" +
			"was told of this trail within a minute of each line: an end that was cut off shows, and a chain that was written anew.\n" +
			"Where the cluster was told nothing, nothing was compared, and it exits with 1.",
		Example: "  raftctl audit verify /var/lib/folkmoot/audit\n  raftctl audit verify /var/lib/folkmoot/audit --addr n2:7380",
		RunE: func(cmd *cobra.Command, args []string) error {
			var anchors []audit.Anchor
			if cmd.Flags().Changed("addr") {
				ctx, cancel := a.limited(cmd)
				defer cancel()
				var err error
				if anchors, err = a.anchorsOf(ctx, args[0]); err != nil {
					return err
				}
			}
			found, err := trail.Verify(args[0], anchors)
			if err != nil {
				return err
			}
			return a.verified(found, cmd.Flags().Changed("addr"))
		},
	}
}

// anchorsOf asks the cluster what it was told of the trail in a directory.
func (a *app) anchorsOf(ctx context.Context, dir string) (anchors []audit.Anchor, err error) {
	newest, err := trail.NewestLine(dir)
	if err != nil {
		return nil, err
	}
	if newest.Coordinator == "" {
		return nil, fmt.Errorf("%s has no line that says whose trail it is: there is nothing to compare, and what was there is gone", dir)
	}
	list, _, err := a.client.AuditAnchors(ctx, newest.Coordinator)
	if err != nil {
		return nil, err
	}
	for _, l := range list.Anchors {
		anchors = append(anchors, audit.Anchor(l))
	}
	return anchors, nil
}

// verified says how much of a trail is as it was written.
func (a *app) verified(t audit.Trail, asked bool) error {
	if t.Lines == 0 {
		_, err := fmt.Fprintln(a.out, "0 lines")
		return err
	}
	fmt.Fprintf(a.out, "%d lines of %s, number %d to %d, are as they were written\n", t.Lines, clean(t.Coordinator), t.First, t.Last)
	if !asked {
		return nil
	}
	if t.Anchors == 0 { // whatever the lines say of themselves: they may be made up
		return errors.New("that is the chain alone: the cluster was told nothing yet of this trail: repeat in a minute (it must be at level 2: raftctl level)")
	}
	fmt.Fprintf(a.out, "%d of them were compared with what the cluster was told by %s\n", t.Anchors, clean(t.ServerID))
	if t.Replaced != "" {
		fmt.Fprintf(a.err, "this is not the present trail: %s has taken the place of %s\n", clean(t.Replaced), clean(t.ServerID))
	}
	return nil
}

// followEvery is how often raftctl audit tail --follow asks for more.
const followEvery = time.Second

func (a *app) auditTailCmd() *cobra.Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use: "tail", Short: "The newest lines of the audit trail of the coordinator asked", Args: cobra.NoArgs,
		Long:    "Each coordinator has a trail of its own. With -o json the lines are as they stand in the files.",
		Example: "  raftctl audit tail\n  raftctl audit tail --addr n1:7380 --follow -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines < 0 {
				return usage("--lines %d: 0 or more", lines)
			}
			return a.auditTail(cmd.Context(), uint64(lines), follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many lines to begin with")
	return cmd
}

// auditTail prints the newest lines, and with follow those that come.
func (a *app) auditTail(ctx context.Context, lines uint64, follow bool) error {
	page, _, err := a.client.Audit(ctx, 0, 1)
	if err != nil {
		return err
	}
	asked, after := page.Coordinator, page.Last-min(lines, page.Last)
	for {
		page, _, err := a.client.Audit(ctx, after, wire.MaxAuditLines)
		switch {
		case follow && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case page.Coordinator != asked:
			fmt.Fprintf(a.err, "%s answers, and %s no longer: this is its own trail\n", page.Coordinator, asked)
			asked, after = page.Coordinator, page.Last-min(lines, page.Last)
			continue
		}
		for _, raw := range page.Lines {
			if after, err = a.showAuditLine(a.out, raw); err != nil {
				return err
			}
		}
		if page.Next > 0 {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// showAuditLine prints a line and returns its number.
func (a *app) showAuditLine(w io.Writer, raw []byte) (seq uint64, err error) {
	l, err := audit.ParseLine(raw)
	if err != nil {
		return 0, err
	}
	switch a.flags.output {
	case "json":
		return l.Seq, writeJSON(w, raw)
	case "yaml":
		return l.Seq, writeYAML(w, raw)
	case "name":
		_, err = fmt.Fprintf(w, "audit/%d\n", l.Seq)
		return l.Seq, err
	}
	_, err = fmt.Fprintln(w, clean(auditText(&l)))
	return l.Seq, err
}

// auditText is a line for people.
func auditText(l *audit.Line) string {
	words := []string{l.At, fmt.Sprint(l.Seq), l.Door}
	for _, who := range []string{l.Who.Name, l.Who.Token, l.Who.Certificate, l.Who.Remote} {
		if who != "" {
			words = append(words, who)
		}
	}
	words = append(words, l.What, l.Target, l.Outcome, l.Code)
	if l.Needs != "" {
		words = append(words, "needs "+l.Needs)
	}
	if l.Index > 0 {
		words = append(words, fmt.Sprintf("index %d", l.Index))
	}
	if l.Times > 1 {
		words = append(words, fmt.Sprintf("%d times", l.Times))
	}
	var said []string
	for _, w := range words {
		if w != "" {
			said = append(said, w)
		}
	}
	return strings.Join(said, " ")
}
