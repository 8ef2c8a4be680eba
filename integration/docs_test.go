package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Every command that the README shows with curl works as written, in the
// order in which it is written, against the cluster that it tells how to start.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 3)
	c.nodes[2].args = append(c.nodes[2].args, "--worker")
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	c.haveWorkers(1)
	for i, p := range c.nodes {
		// The README's ports become those of this cluster.
		text = []byte(strings.ReplaceAll(string(text), fmt.Sprintf("localhost:738%d", i+1), p.http))
	}
	if left := regexp.MustCompile(`(?m)^curl.*localhost.*$`).FindAll(text, -1); len(left) > 0 {
		t.Errorf("commands that ask somebody else: %s", left)
	}
	blocks := regexp.MustCompile("(?s)```sh curl\n(.*?)```").FindAllSubmatch(text, -1)
	wants := [][]string{
		{`"full_name":"n1.laser"`, `"full_name":"n2.camera"`, `"secret":"`},
		{`"n1.laser"`, `"n2.camera"`, `"outcome":"delivered"`, `pulse in 3 s`, `"from":"n1.laser"`},
		{`"full_name":"n1.laser"`, `"home":"n1"`},
		{`"id":"squares"`, `"result":1,`, `"result":4,`, `"result":9,`, `"result":16,`},
		{`name_taken`, `n1.laser`},
	}
	if len(blocks) != len(wants) {
		t.Fatalf("the README has %d blocks of curl, this test knows %d", len(blocks), len(wants))
	}
	// One shell for all, since what one block keeps the next one uses.
	var script strings.Builder
	script.WriteString("set -eu -o pipefail\n")
	for i, b := range blocks {
		for _, line := range strings.Split(strings.TrimSpace(string(b[1])), "\n") {
			fmt.Fprintf(&script, "%s\necho\n", line)
		}
		fmt.Fprintf(&script, "echo '==== end of block %d'\n", i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash")
	cmd.Dir, cmd.Env, cmd.Stdin = t.TempDir(), cleanEnv(), strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := string(out)
	for i, want := range wants {
		said, after, ok := strings.Cut(rest, fmt.Sprintf("==== end of block %d\n", i))
		if !ok {
			t.Fatalf("block %d did not end: %s", i, out)
		}
		rest = after
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("block %d lacks %s; it printed:\n%s", i+1, w, said)
			}
		}
		if bad := regexp.MustCompile(`"code":"[a-z_]+"`).FindString(said); bad != "" && i != len(wants)-1 {
			t.Errorf("block %d was refused with %s:\n%s", i+1, bad, said)
		}
	}
	c.agree()
}
