package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
)

// completeTimeout is how long a person waits for a completion.
const completeTimeout = 2 * time.Second

// completer gives candidates for one argument; the cluster is asked for them.
type completer func(ctx context.Context, prefix string) ([]cobra.Completion, error)

// complete asks the cluster, quietly: no answer is no candidates.
func (a *app) complete(cmd *cobra.Command, typed string, ask completer) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	if a.client == nil && a.start(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := ask(ctx, typed)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, w := range found {
		if strings.HasPrefix(w, typed) {
			out = append(out, w)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) members(ctx context.Context, _ string) ([]cobra.Completion, error) {
	var out []cobra.Completion
	all, _, err := a.client.Members(ctx, client.Read{Consistency: "stale"})
	for _, m := range all.Members {
		out = append(out, cobra.CompletionWithDesc(m.ID, m.State+", "+m.Suffrage))
	}
	return out, err
}

func (a *app) componentNames(ctx context.Context, prefix string) ([]cobra.Completion, error) {
	var out []cobra.Completion
	all, _, err := a.client.Components(ctx, client.Components{Prefix: prefix, Page: client.Page{Limit: 200}, Read: client.Read{Consistency: "stale"}})
	for _, c := range all.Components {
		out = append(out, c.FullName)
	}
	return out, err
}

func (a *app) jobIDs(ctx context.Context, _ string) ([]cobra.Completion, error) {
	var out []cobra.Completion
	all, _, err := a.client.Jobs(ctx, client.Jobs{Page: client.Page{Limit: 200}, Read: client.Read{Consistency: "stale"}})
	for _, j := range all.Jobs {
		out = append(out, cobra.CompletionWithDesc(j.ID, strings.TrimSpace(j.State+" "+j.Name)))
	}
	return out, err
}

func (a *app) completeMembers(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFirst(cmd, args, typed, a.members)
}

func (a *app) completeComponents(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFirst(cmd, args, typed, a.componentNames)
}

func (a *app) completeJobs(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.completeFirst(cmd, args, typed, a.jobIDs)
}

// completeFirst completes the first argument only.
func (a *app) completeFirst(cmd *cobra.Command, args []string, typed string, ask completer) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(cmd, typed, ask)
}

func (a *app) completeConditions(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(cmd, typed, func(ctx context.Context, _ string) ([]cobra.Completion, error) {
		kind, rest, ok := strings.Cut(typed, "/")
		if !ok {
			return []cobra.Completion{"leader", "member/", "component/", "job/"}, nil
		}
		ask := map[string]completer{"member": a.members, "component": a.componentNames, "job": a.jobIDs}[kind]
		if ask == nil {
			return nil, nil
		}
		found, err := ask(ctx, rest)
		for i := range found {
			found[i] = kind + "/" + found[i]
		}
		return found, err
	})
}

func (a *app) completionCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Write a completion script for a shell",
		Long:                  "Writes a completion script; names and ids are then completed from the cluster.",
		Example:               "  source <(raftctl completion bash)\n  raftctl completion zsh > \"${fpath[1]}/_raftctl\"\n  raftctl completion fish | source",
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		DisableFlagsInUseLine: true,
		PersistentPreRunE:     func(*cobra.Command, []string) error { a.started = true; return nil },
		RunE: func(_ *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}
