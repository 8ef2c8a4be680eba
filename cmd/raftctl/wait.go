package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// defaultWait is how long wait waits when no --timeout is given.
const defaultWait = time.Minute

// condition looks once: whether it holds, what there is instead, and an error if it cannot come to hold any more.
type condition func(ctx context.Context) (holds bool, now string, err error)

func (a *app) waitCmd() *cobra.Command {
	return &cobra.Command{
		Use: "wait CONDITION...", Short: "Wait until something is so", Args: cobra.MinimumNArgs(1),
		Long: `Waits until all conditions hold, for --timeout (default 1m):

  leader              there is a leader
  leader=n2           it is n2
  member/n2           n2 is a member; =voter, =nonvoter, =alive, =gone say more
  component/n1.laser  it is signed in; =gone: it is not
  job/ID              the job has ended; =done, =failed, =cancelled, =running: so

Exits 1 when the time is up or a job ended otherwise, 3 when nobody could be asked.`,
		Example:           "  raftctl wait leader --timeout 30s\n  raftctl wait member/n4=voter\n  raftctl wait job/quality=done --timeout 10m",
		ValidArgsFunction: a.completeConditions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []condition
			for _, arg := range args {
				c, err := a.condition(arg)
				if err != nil {
					return err
				}
				all = append(all, c)
			}
			limit := defaultWait
			if cmd.Flags().Changed("timeout") {
				limit = a.flags.timeout
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			for i, c := range all {
				if err := a.await(ctx, c, args[i], limit); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// await looks again and again, until the condition holds or ctx ends.
func (a *app) await(ctx context.Context, c condition, name string, limit time.Duration) error {
	var unanswered error
	now := "not looked yet"
	for {
		holds, seen, err := c(ctx)
		switch {
		case err == nil && holds:
			return nil
		case err == nil:
			now, unanswered = seen, nil
		case wire.CodeOf(err) == wire.CodeUnavailable || wire.CodeOf(err) == wire.CodeUnknown:
			if ctx.Err() == nil || unanswered == nil && now == "not looked yet" {
				unanswered = err
			}
		default:
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
			continue
		case <-ctx.Done():
		}
		if unanswered != nil {
			return unanswered
		}
		return fmt.Errorf("%s not within %s: %s", name, limit, now)
	}
}

func (a *app) condition(arg string) (condition, error) {
	what, want, _ := strings.Cut(arg, "=")
	kind, name, _ := strings.Cut(what, "/")
	switch {
	case what == "leader":
		return func(ctx context.Context) (bool, string, error) {
			l, _, err := a.client.Leader(ctx)
			var ce *client.CallError
			if errors.As(err, &ce) && ce.Err.Code == wire.CodeUnavailable && ce.RequestID != "" {
				return false, ce.Err.Message + " at " + ce.Addr, nil
			}
			return l.ID != "" && (want == "" || l.ID == want), "the leader is " + l.ID, err
		}, nil
	case kind == "member" && name != "" && oneOf(want, "", "voter", "nonvoter", "alive", "gone"):
		return a.memberCondition(name, want), nil
	case kind == "component" && name != "" && oneOf(want, "", "gone"):
		return func(ctx context.Context) (bool, string, error) {
			_, _, err := a.client.Component(ctx, name, client.Read{})
			if wire.CodeOf(err) == wire.CodeNotFound {
				return want == "gone", "it is not signed in", nil
			}
			return want == "", "it is signed in", err
		}, nil
	case kind == "job" && name != "" && oneOf(want, "", "done", "failed", "cancelled", "running"):
		return func(ctx context.Context) (bool, string, error) {
			j, _, err := a.client.Job(ctx, name, client.Read{})
			switch {
			case err != nil:
				return false, "", err
			case j.State == want, want == "" && client.Final(j.State):
				return true, "", nil
			case client.Final(j.State):
				return false, "", fmt.Errorf("job %s: %w", name, errors.New(jobOutcome(j)))
			}
			return false, "it is " + j.State, nil
		}, nil
	}
	return nil, usage("condition %q: want leader, member/ID=voter, component/NAME or job/ID=done", arg)
}

func (a *app) memberCondition(id, want string) condition {
	return func(ctx context.Context) (bool, string, error) {
		all, _, err := a.client.Members(ctx, client.Read{})
		if err != nil {
			return false, "", err
		}
		for _, m := range all.Members {
			if m.ID == id {
				holds := want == "" || want == m.Suffrage || want == "alive" && m.Alive
				return holds, fmt.Sprintf("it is a %s and %s", m.Suffrage, m.State), nil
			}
		}
		return want == "gone", "there is no such member", nil
	}
}

// jobOutcome tells how a job ended.
func jobOutcome(j wire.Job) string {
	if j.Reason != "" {
		return j.State + ": " + clean(j.Reason)
	}
	return j.State
}

func oneOf(s string, of ...string) bool {
	for _, o := range of {
		if s == o {
			return true
		}
	}
	return false
}
