package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor times in /proc: USER_HZ is 100 on Linux.
const tick = 10 * time.Millisecond

// cpu is the processor time that a process has used, in user and system.
func cpu(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The fields after the name in brackets, which may hold anything; utime and
	// stime are the 14th and 15th of all.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

// memory is a line of /proc/PID/status in bytes: VmRSS, VmHWM.
func memory(pid int, line string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, line)
}

// profile takes a processor profile of every coordinator while something runs,
// if that is wanted. The function it returns waits for the profiles.
func (o options) profile(c *cluster, label string) (wait func()) {
	if o.profiles == "" {
		return func() {}
	}
	done := make(chan struct{})
	n := 0
	for _, s := range c.servers {
		if s.ops == "" {
			continue
		}
		n++
		name := filepath.Join(o.profiles, fmt.Sprintf("%s-%s-%s.pprof", c.system, label, s.name))
		go func() {
			// After the warming up, and not longer than the load.
			if err := fetch("http://"+s.ops+"/debug/pprof/profile?seconds="+strconv.Itoa(max(1, int(o.duration.Seconds()))), name, time.Minute); err != nil {
				fmt.Fprintln(os.Stderr, "  no profile:", err)
			}
			done <- struct{}{}
		}()
	}
	return func() {
		for range n {
			<-done
		}
	}
}

// fetch stores an answer in a file, or nowhere if name is empty.
func fetch(url, name string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	if name == "" {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
