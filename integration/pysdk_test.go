package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// python returns how to run the Python SDK's tests: pytest where there is one,
// else the standard library's runner.
func python(t *testing.T, tests ...string) []string {
	t.Helper()
	program, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3 here")
	}
	if exec.Command(program, "-c", "import sys; sys.exit(sys.version_info < (3, 9))").Run() != nil {
		t.Skip("python3 is older than 3.9")
	}
	if exec.Command(program, "-m", "pytest", "--version").Run() == nil {
		args := []string{program, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"}
		for _, name := range tests {
			args = append(args, filepath.Join("tests", name+".py"))
		}
		return args
	}
	args := []string{program, "-m", "unittest", "-v"}
	for _, name := range tests {
		args = append(args, "tests."+name)
	}
	if len(tests) == 0 {
		args = append(args, "discover")
	}
	return args
}

// pythonSDK runs tests of the Python SDK against the cluster.
func (c *cluster) pythonSDK(native map[string]string, env []string, tests ...string) {
	c.t.Helper()
	type coordinator struct {
		ID     string `json:"id"`
		Native string `json:"native"`
		HTTP   string `json:"http"`
		PID    int    `json:"pid"`
	}
	var all []coordinator
	for _, p := range c.nodes {
		all = append(all, coordinator{p.name, native[p.name], p.http, p.cmd.Process.Pid})
	}
	told, err := json.Marshal(all)
	if err != nil {
		c.t.Fatal(err)
	}
	args := python(c.t, tests...)
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = filepath.Join("..", "sdk", "python")
	cmd.Env = append(cleanEnv(), "PYTHONDONTWRITEBYTECODE=1", "FOLKMOOT_CLUSTER="+string(told))
	if raceEnabled {
		cmd.Env = append(cmd.Env, "FOLKMOOT_SLOW=1")
	}
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	c.t.Logf("%s", out.String())
}

// The Python SDK does everything it promises with real coordinators, also when
// the home of its sessions is killed, follower or leader.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	python(t)
	c := newCluster(t, 3)
	native := map[string]string{}
	for i, addr := range ports(t, 3) {
		p := c.nodes[i]
		p.args = append(without(p.args, "--component-addr"), "--component-addr", addr)
		native[p.name] = addr
		p.start()
	}
	c.waitHealthy(3)
	c.worker("worker", 4, c.nodes...)
	c.pythonSDK(native, nil)

	for _, home := range []*process{c.follower(), c.leader()} {
		env := []string{"FOLKMOOT_KILL=" + home.name}
		if home == c.leader() {
			env = append(env, "FOLKMOOT_LEADER_DIES=1")
		}
		c.pythonSDK(native, env, "test_cluster")
		home.kill() // waits for its end
		home.start()
		c.waitHealthy(3)
	}
	c.agree()
}
