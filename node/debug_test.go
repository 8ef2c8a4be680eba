package node_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// What a coordinator gives out to find a fault goes to one caller at a time, ends with whoever asked for it, and says
// what could not be had.
func TestDebugBundle(t *testing.T) {
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir()})
	ready(t, n)
	c := clientOf(t, "", n)
	first, _, err := c.DebugBundle(t.Context(), wire.LongestCPUProfile)
	if err != nil {
		t.Fatal(err)
	}
	if second, _, err := c.DebugBundle(t.Context(), 0); wire.CodeOf(err) != wire.CodeBusy {
		t.Errorf("beside another caller: %v, want it refused as busy", err)
		if err == nil {
			second.Close()
		}
	}
	first.Close()
	var packed io.ReadCloser
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if packed, _, err = c.DebugBundle(t.Context(), 10*time.Millisecond); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the first caller was gone: %v", err)
		}
	}
	defer packed.Close()
	zip, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for from := tar.NewReader(zip); ; {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
	for name, part := range map[string]string{
		"status.json": `"id": "n1"`, "members.json": `"voter"`, "metrics.txt": "folkmoot_is_leader 1", "goroutines.txt": "goroutine ",
		"settings.json.missing.txt": "was not started by coordinator serve", "log.txt.missing.txt": "was not started by coordinator serve",
		"heap.pb.gz": "", "cpu.pb.gz": "", "about.json": `"processors"`,
	} {
		if content, there := files[name]; !there || content == "" || !strings.Contains(content, part) {
			t.Errorf("%s (there: %t) does not have %q", name, there, part)
		}
	}
	if len(files) != 9 {
		t.Errorf("%d files, want 9", len(files))
	}
}
