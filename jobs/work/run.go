package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// errTimeout is the cause when a part took longer than its part_timeout.
var errTimeout = errors.New("part_timeout")

// run runs one part to its end and leaves nothing behind: no process of its
// group, no file. When ctx ends the group is ended.
func (w *Worker) run(ctx context.Context, rt Runtime, p wire.RunPart) (out outcome) {
	began := time.Now()
	defer func() { out.took = time.Since(began) }()
	dir, err := os.MkdirTemp(w.dir.path, "part-")
	if err != nil {
		return outcome{err: "directory for the part: " + err.Error()}
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			w.log.Warn("part's directory not removed", "error", err)
		}
	}()
	cmd, stdin, err := rt.prepare(dir, filepath.Join(w.dir.short, filepath.Base(dir)), p)
	if err != nil {
		return outcome{err: "prepare the part: " + err.Error()}
	}
	defer stdin.Close()
	limit := time.Duration(p.PartTimeout)
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errTimeout)
		defer cancel()
	}
	ship := w.newShipper(p.PartRef)
	defer ship.end()
	defer func() {
		why := out.err
		if out.tail {
			why, _, _ = strings.Cut(why, "\n") // the log has the rest
		}
		ship.line(why)
	}()
	raw, state, err := w.process(ctx, cmd, rt.Name == "python3", ship)
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return outcome{err: fmt.Sprintf("timed out: it ran longer than its part_timeout of %v", limit)}
	case ctx.Err() != nil:
		return outcome{stopped: true}
	case err != nil:
		return outcome{err: "run the part: " + err.Error()}
	case raw.over:
		return outcome{err: tooLarge("is larger")}
	}
	if rt.Name != "python3" && !state.Success() {
		return outcome{err: endedAs("the script ended with", state, ship), tail: true}
	}
	result, failure := rt.result(raw.data)
	if failure != "" && len(raw.data) == 0 {
		return outcome{err: endedAs(failure+":", state, ship), tail: true}
	}
	return outcome{result: result, err: failure}
}

// endedAs says how a process ended and what it said last.
func endedAs(how string, state *os.ProcessState, log *shipper) string {
	return strings.TrimSpace(fmt.Sprintf("%s %v\n%s", how, state, tail(log.tail(), 3000)))
}

// process starts cmd as the leader of a new process group and waits for it.
// Whoever is left in the group then is killed. The result is read from
// descriptor 3 if extra, else from standard output; all other output goes to
// the log.
func (w *Worker) process(ctx context.Context, cmd *exec.Cmd, extra bool, log io.Writer) (*capped, *os.ProcessState, error) {
	raw := &capped{limit: wire.MaxResult + 1}
	resultR, resultW, err := os.Pipe()
	if err != nil {
		return raw, nil, err
	}
	defer resultR.Close()
	defer resultW.Close()
	logR, logW, err := os.Pipe()
	if err != nil {
		return raw, nil, err
	}
	defer logR.Close()
	defer logW.Close()
	cmd.Stderr = logW
	if extra {
		cmd.Stdout, cmd.ExtraFiles = logW, []*os.File{resultW}
	} else {
		cmd.Stdout = resultW
	}
	g, err := startGroup(cmd)
	if err != nil {
		return raw, nil, err
	}
	resultW.Close()
	logW.Close()
	var readers sync.WaitGroup
	readers.Go(func() { _, _ = io.Copy(raw, resultR) })
	readers.Go(func() { _, _ = io.Copy(log, logR) })

	// The watcher ends the group when ctx ends, and itself when the leader has.
	over, watcher := make(chan struct{}), sync.WaitGroup{}
	watcher.Go(func() {
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		g.terminate()
		kill := time.NewTimer(w.cfg.KillDelay)
		defer kill.Stop()
		select {
		case <-over:
		case <-kill.C:
			g.kill()
		}
	})
	err = g.wait(func() { close(over); watcher.Wait() })
	// With the group dead the pipes end, unless somebody left the group and
	// kept them: those are cut off.
	cut := time.AfterFunc(w.cfg.KillDelay, func() {
		past := time.Unix(1, 0)
		_ = resultR.SetReadDeadline(past)
		_ = logR.SetReadDeadline(past)
	})
	readers.Wait()
	cut.Stop()
	return raw, cmd.ProcessState, err
}

// capped keeps the first bytes written to it and swallows the rest.
type capped struct {
	limit int
	data  []byte
	over  bool
}

func (c *capped) Write(b []byte) (int, error) {
	room := c.limit - len(c.data)
	if len(b) > room {
		c.over = true
		c.data = append(c.data, b[:room]...)
		return len(b), nil
	}
	c.data = append(c.data, b...)
	return len(b), nil
}
