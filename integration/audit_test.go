package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// A coordinator that is killed in the middle of its writes goes on with its audit trail, which is whole; an end that is
// cut from it is found by what the cluster was told, and a line that is changed by the chain alone.
func TestAuditTrailOfAKilledCoordinator(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	n1 := c.nodes[0]
	dir := filepath.Join(n1.data, "audit")
	for round := range 3 {
		api := n1.api()
		ctx, cancel := context.WithCancel(t.Context())
		var made atomic.Int64
		var ended sync.WaitGroup
		ended.Go(func() {
			for {
				in := wire.SignIn{Name: fmt.Sprintf("c%d-%d", round, made.Load()), Lease: wire.Duration(time.Hour)}
				if _, _, err := api.SignIn(ctx, in, ""); err != nil {
					return
				}
				made.Add(1)
			}
		})
		eventually(t, "some writes to be done", func(context.Context) error {
			if n := made.Load(); n < 10 {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		n1.kill()
		cancel()
		ended.Wait()
		n1.start()
		c.waitHealthy(1)
	}
	verify := func(args ...string) (string, int) {
		t.Helper()
		out, errs, code := c.raftctl(append([]string{"audit", "verify", dir}, args...)...)
		return out + errs, code
	}
	anchored := func() bool {
		said, code := verify("--addr", n1.http)
		yet := strings.Contains(said, "compared with what the cluster was told")
		if code != 0 && !(code == 1 && strings.Contains(said, "told nothing yet of this trail")) || yet != (code == 0) {
			t.Fatalf("the trail of a killed coordinator: exit %d\n%s", code, said)
		}
		return yet
	}
	for deadline := time.Now().Add(2 * patience); !anchored(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("the cluster was told nothing of the trail")
		}
	}
	if out, errs, code := c.raftctl("audit", "tail", "--lines", "5"); code != 0 || !strings.Contains(out, "POST /v1/components") {
		t.Errorf("audit tail: exit %d\n%s%s", code, out, errs)
	}
	n1.stop()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	last := files[len(files)-1]
	whole, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(last, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(bytes.Replace(whole, []byte(`"outcome":"done"`), []byte(`"outcome":"dane"`), 1))
	if said, code := verify(); code != 1 || !strings.Contains(said, filepath.Base(last)+":") || !strings.Contains(said, "changed") {
		t.Errorf("a changed line: exit %d\n%s", code, said)
	}
	first := whole[:bytes.IndexByte(whole, '\n')+1]
	write(first)
	if said, code := verify(); code != 0 {
		t.Errorf("a cut end without the cluster: exit %d\n%s", code, said)
	}
	n1.args = append(n1.args, "--audit-dir", filepath.Join(c.dir, "elsewhere")) // what was cut is to stay as it is
	n1.start()
	c.waitHealthy(1)
	if said, code := verify("--addr", n1.http); code != 1 || !strings.Contains(said, filepath.Base(last)+":1") || !strings.Contains(said, "cut") {
		t.Errorf("a cut end: exit %d\n%s", code, said)
	}
}
