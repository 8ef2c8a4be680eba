package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Two of three are lost for good, disks and all. raftctl recover makes the third a cluster
// of its own, which has all that was acknowledged, and the two join it with empty disks.
// Before the coordinator is stopped, and with words that are not its own, nothing is touched.
func TestRecoverALostMajority(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	in := c.signIn(c.nodes[0], "laser", time.Hour)
	cluster := c.status(c.nodes[0]).ClusterID
	survivor := c.nodes[0]
	for _, p := range c.others(survivor) {
		p.kill()
		if err := os.RemoveAll(p.data); err != nil {
			t.Fatal(err)
		}
	}
	recover := func(more ...string) (string, int) {
		args := append([]string{"recover", "--data-dir", survivor.data, "--peers", survivor.name + "=" + survivor.peer}, more...)
		out, errs, code := c.raftctl(args...)
		return out + errs, code
	}
	if said, code := recover("--cluster", cluster); code != 1 || !strings.Contains(said, "in use") {
		t.Errorf("a directory in use: %d, %s", code, said)
	}
	survivor.kill()
	if said, code := recover("--cluster", "0123456789abcdef"); code != 1 || !strings.Contains(said, "is of cluster "+cluster) {
		t.Errorf("another cluster's id: %d, %s", code, said)
	}
	said, code := recover("--cluster", cluster, "--dry-run")
	if code != 0 || !strings.Contains(said, "n2") || !strings.Contains(said, "nothing was touched") {
		t.Fatalf("dry run: %d, %s", code, said)
	}
	if copies, err := filepath.Glob(filepath.Join(survivor.data, "before-*")); err != nil || len(copies) > 0 {
		t.Errorf("a dry run left %v, %v", copies, err)
	}
	if said, code := recover("--cluster", cluster); code != 0 || !strings.Contains(said, "what was there before is in "+survivor.data) {
		t.Fatalf("recover: %d, %s", code, said)
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	c.has(in.FullName, "n1")
	if got := c.status(c.nodes[1]).ClusterID; got != cluster {
		t.Errorf("the cluster is %s, was %s", got, cluster)
	}
	c.agree()
}

// The same by flags that all get alike, as pods do: who has a disk of before and is named
// recovers it, at its first start with that word only; who has an empty disk joins, and
// who has a disk of before and is not named does not run with it.
func TestRecoverByFlags(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	in := c.signIn(c.nodes[0], "laser", time.Hour)
	survivor, empty, late := c.nodes[0], c.nodes[1], c.nodes[2]
	for _, p := range c.nodes {
		p.kill()
		p.args = append(p.args, "--recover-peers", survivor.name+"="+survivor.peer, "--recover-once", "monday")
	}
	if err := os.RemoveAll(empty.data); err != nil {
		t.Fatal(err)
	}
	late.start()
	if code := late.wait(); code != 1 || !strings.Contains(late.log.String(), "which --recover-peers does not name") {
		t.Errorf("one that is not named ended with %d: %s", code, late.tail())
	}
	survivor.start()
	empty.start()
	late.args = append(late.args, "--when-removed", "rejoin")
	late.start()
	c.waitHealthy(3)
	c.has(in.FullName, "n1")

	for _, p := range c.nodes { // with the same flags: now they do nothing
		p.stop()
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	c.has(in.FullName, "n1")
	for p, want := range map[*process]int{survivor: 1, empty: 0, late: 0} {
		if copies, err := filepath.Glob(filepath.Join(p.data, "before-recover-*")); err != nil || len(copies) != want {
			t.Errorf("%s was recovered %d times, want %d: %v", p.name, len(copies), want, err)
		}
	}
	c.agree()
}

// status is what one coordinator says of itself and its cluster.
func (c *cluster) status(at *process) (st wire.Status) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%s answers", at.name), func(ctx ctx) (err error) {
		st, _, err = at.api().Status(ctx)
		return err
	})
	return st
}
