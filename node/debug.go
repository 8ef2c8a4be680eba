package node

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/folkmoot/folkmoot/control"
)

// Setting is one setting of the process, for whoever looks for a fault.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // where it comes from
}

// debugPart is one file of those that writeDebug writes.
type debugPart struct {
	name  string
	write func(io.Writer) error
}

// debugParts are the files; the one that takes long is the last.
func (n *Node) debugParts(ctx context.Context, who control.Principal, cpu time.Duration) []debugPart {
	parts := []debugPart{
		{"about.json", asJSON(n.about)},
		{"status.json", asJSON(func() (any, error) { return n.control.Own(), nil })},
		{"members.json", asJSON(func() (any, error) {
			all, _, err := n.control.Members(ctx, who, control.Read{Consistency: "stale"})
			return all, err
		})},
		{"metrics.txt", func(w io.Writer) error { return n.writeMetrics(ctx, w) }},
		{"settings.json", asJSON(n.settings)},
		{"log.txt", n.writeRecentLog},
		{"goroutines.txt", profile("goroutine", 2)},
		{"heap.pb.gz", profile("heap", 0)},
	}
	if cpu > 0 {
		parts = append(parts, debugPart{"cpu.pb.gz", func(w io.Writer) error { return profileCPU(ctx, cpu, w) }})
	}
	return parts
}

// writeDebug is a cluster.WriteDebug. What cannot be had is named by a file that says why.
func (n *Node) writeDebug(ctx context.Context, who control.Principal, cpu time.Duration, w io.Writer) error {
	zip := gzip.NewWriter(w)
	files := tar.NewWriter(zip)
	for _, part := range n.debugParts(ctx, who, cpu) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var content bytes.Buffer
		name := part.name
		if err := part.write(&content); err != nil {
			content.Reset()
			fmt.Fprintf(&content, "%s could not be had: %v\n", name, err)
			name += ".missing.txt"
		}
		header := &tar.Header{Name: name, Size: int64(content.Len()), Mode: 0o600, ModTime: time.Now().Truncate(time.Second)}
		if err := errors.Join(files.WriteHeader(header), writeAll(files, &content), zip.Flush()); err != nil {
			return err
		}
	}
	return errors.Join(files.Close(), zip.Close())
}

func writeAll(w io.Writer, content *bytes.Buffer) error {
	_, err := content.WriteTo(w)
	return err
}

// asJSON writes a value as indented JSON.
func asJSON(get func() (any, error)) func(io.Writer) error {
	return func(w io.Writer) error {
		v, err := get()
		if err != nil {
			return err
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
}

// about is what the process is, and when this was written.
func (n *Node) about() (any, error) {
	return map[string]any{
		"coordinator": n.cfg.ID, "version": n.cfg.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
		"processors": runtime.NumCPU(), "gomaxprocs": runtime.GOMAXPROCS(0), "open_files": n.files, "memory_limit": debug.SetMemoryLimit(-1),
		"started": n.started.UTC(), "written": time.Now().UTC(),
	}, nil
}

func (n *Node) settings() (any, error) {
	if len(n.cfg.Settings) == 0 {
		return nil, errors.New("this coordinator was not started by coordinator serve")
	}
	return n.cfg.Settings, nil
}

func (n *Node) writeRecentLog(w io.Writer) error {
	if n.cfg.RecentLog == nil {
		return errors.New("this coordinator was not started by coordinator serve")
	}
	_, err := w.Write(n.cfg.RecentLog())
	return err
}

// writeMetrics writes what a scrape of the operator's port is answered.
func (n *Node) writeMetrics(ctx context.Context, w io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", http.NoBody)
	if err != nil {
		return err
	}
	a := &answerTo{w: w}
	n.ops.ServeHTTP(a, r)
	if status := cmp.Or(a.status, http.StatusOK); status != http.StatusOK {
		return fmt.Errorf("the operator's port answers %d", status)
	}
	return a.err
}

// answerTo is an http.ResponseWriter that hands the body on.
type answerTo struct {
	w      io.Writer
	header http.Header
	status int
	err    error
}

func (a *answerTo) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

func (a *answerTo) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

func (a *answerTo) Write(p []byte) (int, error) {
	n, err := a.w.Write(p)
	a.err = errors.Join(a.err, err)
	return n, err
}

// profile writes a profile of the whole process, which shows where in the code and how much,
// and nothing of what is in memory.
func profile(name string, form int) func(io.Writer) error {
	return func(w io.Writer) error { return pprof.Lookup(name).WriteTo(w, form) }
}

// profileCPU looks for some time at what the processor does.
func profileCPU(ctx context.Context, d time.Duration, w io.Writer) error {
	if err := pprof.StartCPUProfile(w); err != nil {
		return fmt.Errorf("another profile of this process is being made: %w", err)
	}
	defer pprof.StopCPUProfile()
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
