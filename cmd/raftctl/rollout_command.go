package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// commandEnd is how long a restart command has to end once it is told to.
const commandEnd = 5 * time.Second

// runCommand restarts one coordinator by the command. When ctx ends before that is done, it
// and all processes that it has begun are ended: first they are told to, those that are left
// when it is gone are killed.
func (r *rollout) runCommand(ctx context.Context, id string) error {
	line := strings.ReplaceAll(r.restart, "{id}", id)
	sh := exec.CommandContext(ctx, "sh", "-c", line)
	sh.Stdout, sh.Stderr, sh.WaitDelay = r.a.err, r.a.err, commandEnd
	inGroup(sh)
	err := sh.Run()
	if err != nil && ctx.Err() != nil && sh.Process != nil {
		killGroup(sh)
	}
	switch {
	case err == nil:
		return nil
	case r.cmd.Context().Err() != nil:
		return fmt.Errorf("restart %s by %q: broken off; the command was ended, and may have restarted it", id, line)
	case ctx.Err() != nil:
		return fmt.Errorf("restart %s by %q: the command was not done within %s and was ended; it may have restarted it", id, line, r.timeout)
	}
	return fmt.Errorf("restart %s by %q: %w", id, line, err)
}
