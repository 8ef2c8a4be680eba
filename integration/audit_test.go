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

	"github.com/folkmoot/folkmoot/client"
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

// anchored waits until a coordinator knows that line of another's audit trail, or a newer one, as what the cluster was
// told.
func (p *process) anchored(whose string, seq uint64) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s knows line %d of %s", p.name, seq, whose), func(ctx context.Context) error {
		list, _, err := p.api().AuditAnchors(ctx, whose)
		if err == nil && newestAnchor(list) < seq {
			err = fmt.Errorf("it knows %d", newestAnchor(list))
		}
		return err
	})
}

// newestAnchor is the highest number of a line in a list; 0: it is empty.
func newestAnchor(list wire.AuditAnchors) (seq uint64) {
	for _, a := range list.Anchors {
		seq = max(seq, a.Seq)
	}
	return seq
}

// A trail goes on while there is no quorum, over a start as well, and the cluster is told none of it; once there is one
// it is told. At no time is the trail said to be another one than was written.
func TestAuditTrailWithoutAQuorum(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	n1, n2, n3 := c.nodes[0], c.nodes[1], c.nodes[2]
	dir := filepath.Join(n1.data, "audit")
	c.signIn(n1, "laser", time.Hour)
	n1.stop() // the cluster is told the newest line when a coordinator ends, and when it starts
	n1.start()
	c.waitHealthy(3)
	n2.anchored("n1", 1)

	n2.kill()
	n3.kill()
	known := auditLines(t, dir)
	read := func() {
		t.Helper()
		if _, _, err := n1.api().Tokens(t.Context(), client.Page{}, client.Read{Consistency: "stale"}); err != nil {
			t.Fatal(err)
		}
	}
	read()
	n1.stop()
	n1.start()
	eventually(t, "n1 answers", func(ctx context.Context) error {
		_, _, err := n1.api().Tokens(ctx, client.Page{}, client.Read{Consistency: "stale"})
		return err
	})
	n1.stop()
	all := auditLines(t, dir)
	reads := 0
	for _, l := range all[len(known):] {
		if l.What == "GET /v1/tokens" && l.Outcome == "done" {
			reads++
		}
	}
	if reads < 2 {
		t.Fatalf("%d reads are in what was written without a quorum: %+v", reads, all)
	}

	n2.start()
	n3.start()
	var list wire.AuditAnchors
	eventually(t, "n2 and n3 answer", func(ctx context.Context) (err error) {
		list, _, err = n2.api().AuditAnchors(ctx, "n1")
		return err
	})
	if newest := newestAnchor(list); newest == 0 || newest > known[len(known)-1].Seq {
		t.Errorf("the cluster was told of line %d, and had no quorum from line %d on", newest, known[len(known)-1].Seq+1)
	}
	verify := func(at *process) {
		t.Helper()
		if out, errs, code := c.raftctl("audit", "verify", dir, "--addr", at.http); code != 0 || !strings.Contains(out, "compared with what the cluster was told") {
			t.Errorf("audit verify at %s: exit %d\n%s%s", at.name, code, out, errs)
		}
	}
	verify(n2)
	n1.start()
	n2.anchored("n1", all[len(all)-1].Seq)
	verify(n1)
	for _, l := range auditLines(t, dir) {
		if l.What == "find a fault in the trail" {
			t.Errorf("%+v", l)
		}
	}
}

// What a cluster was told is of its own trails: that of a coordinator with the same name elsewhere is another one,
// whether it is longer or shorter.
func TestAuditTrailOfAnotherCluster(t *testing.T) {
	t.Parallel()
	short, long := startCluster(t, 1), startCluster(t, 1)
	for c, names := range map[*cluster][]string{short: {"laser"}, long: {"laser", "mirror", "camera"}} {
		n1 := c.nodes[0]
		for _, name := range names {
			c.signIn(n1, name, time.Hour)
		}
		n1.stop()
		n1.start()
		c.waitHealthy(1)
		n1.anchored("n1", uint64(len(names)))
	}
	for _, c := range []struct {
		of, at *cluster
		found  string
	}{
		{short, short, ""},
		{long, long, ""},
		{long, short, "000001.jsonl:1: not the anchored one: the cluster was told another line number 1"},
		{short, long, "the cluster was told "}, // of a line that it does not have, or of another first one
	} {
		n1 := c.of.nodes[0]
		out, errs, code := c.at.raftctl("audit", "verify", filepath.Join(n1.data, "audit"), "--addr", c.at.nodes[0].http)
		switch {
		case c.found == "" && (code != 0 || !strings.Contains(out, "compared with what the cluster was told")):
			t.Errorf("its own trail: exit %d\n%s%s", code, out, errs)
		case c.found != "" && (code != 1 || out != "" || !strings.Contains(errs, c.found)):
			t.Errorf("another's trail: exit %d, want %q\n%s%s", code, c.found, out, errs)
		}
	}
}
