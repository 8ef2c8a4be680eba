package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The tour: three coordinators, a message, a job on real input, the leader killed",
		Long: `Starts three coordinators and three workers as processes of their own, in a
temporary folder and on free ports of loopback, and plays the tour: sign-ins, a
message across coordinators, a job that counts the Go standard library, kill -9
of the leader while a second copy of the job runs, and the dead one's return.
Exits 0 only if every step held, and leaves nothing behind.`,
		Example:       "  coordinator demo\n  coordinator demo --runtime sh",
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.runtime == "" {
				o.runtime = "python3"
				if exec.CommandContext(cmd.Context(), "python3", "-c", "").Run() != nil {
					o.runtime = "sh"
				}
			}
			if o.runtime != "python3" && o.runtime != "sh" {
				return usageError{fmt.Errorf("--runtime %q: python3 or sh", o.runtime)}
			}
			if o.packages < 0 {
				return usageError{fmt.Errorf("--packages %d: 0 for all, or a number of packages", o.packages)}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
			defer cancel()
			return demo(ctx, o, newPrinter(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&o.runtime, "runtime", "", "language of the job's script: python3 or sh (default: python3 where it is found)")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "the demo fails when it takes longer")
	cmd.Flags().IntVar(&o.packages, "packages", 0, "count only so many packages (default: all)")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

type demoOptions struct {
	runtime  string
	timeout  time.Duration
	packages int
}

// demo plays the tour and cleans up after itself however it ends.
func demo(ctx context.Context, o demoOptions, out *printer) (err error) {
	began := time.Now()
	f, err := newFleet()
	if err != nil {
		return err
	}
	defer f.close()
	t := &tour{fleet: f, printer: out, options: o}
	defer t.close()
	for i, step := range t.steps() {
		out.step(i+1, step.title)
		if err := step.play(ctx); err != nil {
			out.failed(err)
			if dead := f.dead(); dead != nil {
				out.failed(dead)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("the demo was stopped: %w", context.Cause(ctx))
			}
			return fmt.Errorf("step %d, %s: %w", i+1, step.title, err)
		}
	}
	out.end(fmt.Sprintf("Every step held, in %.0f seconds. Nothing is left running.", time.Since(began).Seconds()))
	return nil
}
