package node_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/node"
)

func good() node.Config {
	return node.Config{ID: "n1", Namespace: "n1", DataDir: "d", HTTPAddr: "127.0.0.1:0", PeerAddr: "127.0.0.1:0", OpsAddr: "127.0.0.1:0", ComponentAddr: "127.0.0.1:0", LogStore: "bolt", Expect: 1}
}

// Every refusal names the flag that is wrong.
func TestValidateNamesTheFlag(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Fatalf("a good config is refused: %v", err)
	}
	for want, spoil := range map[string]func(*node.Config){
		"--id":               func(c *node.Config) { c.ID = "a.b" },
		"--namespace":        func(c *node.Config) { c.Namespace = "a b" },
		`--id "COORD`:        func(c *node.Config) { c.ID = "COORDINATOR" },
		`--namespace "coord`: func(c *node.Config) { c.Namespace = "coordinator" },
		"from 0 to 65535":    func(c *node.Config) { c.OpsAddr = "127.0.0.1:65536" },
		"from 1 to 65535":    func(c *node.Config) { c.Advertise = "n1:0" },
		"--log-store":        func(c *node.Config) { c.LogStore = "tape" },
		"--bootstrap-expect": func(c *node.Config) { c.Expect = 3 },
		"--topology":         func(c *node.Config) { c.Topology = "star" },
		"--slots":            func(c *node.Config) { c.Slots = -1 },
		"--election-timeout": func(c *node.Config) { c.ElectionTimeout = time.Millisecond },
		"--peer-ca":          func(c *node.Config) { c.PeerCA = "ca.pem" },
		"--http-cert":        func(c *node.Config) { c.HTTPKey = "key.pem" },
		"--http-hosts":       func(c *node.Config) { c.HTTPHosts = []string{"n1.lab", "n1.lab:7380"} },
		"--http-addr":        func(c *node.Config) { c.HTTPAddr = "7380" },
		"--peer-addr":        func(c *node.Config) { c.PeerAddr = "127.0.0.1:http" },
		"--advertise":        func(c *node.Config) { c.Advertise = "0.0.0.0:7300" },
	} {
		c := good()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("spoilt %s: got %v, want an error naming it", want, err)
		}
	}
}

// A door that other machines reach needs a lock, or the word --insecure.
func TestOffLoopbackNeedsLocks(t *testing.T) {
	for want, open := range map[string]func(*node.Config){
		"--http-addr": func(c *node.Config) { c.HTTPAddr = "192.0.2.1:7380" },
		"--peer-addr": func(c *node.Config) { c.PeerAddr = "192.0.2.1:7300" },
	} {
		c := good()
		open(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("%s off loopback: got %v, want a refusal that names the way out", want, err)
		}
		c.Insecure = true
		if err := c.Validate(); err != nil {
			t.Errorf("%s off loopback with --insecure: %v", want, err)
		}
	}
}

// The operator's port asks for no token: off loopback it serves probes and metrics alone.
func TestOpsPortOffLoopbackNeedsNoLock(t *testing.T) {
	c := good()
	c.OpsAddr = ":7390"
	if err := c.Validate(); err != nil {
		t.Errorf("--ops-addr off loopback: %v", err)
	}
	n := run(t, node.Config{ID: "solo", DataDir: t.TempDir(), OpsAddr: "0.0.0.0:0"})
	ready(t, n)
	_, port, err := net.SplitHostPort(n.Addrs().Ops)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/startupz": 200, "/metrics": 200,
		"/debug/pprof/": 404, "/debug/pprof/heap": 404, "/debug/pprof/cmdline": 404, "/debug/pprof/profile?seconds=1": 404, "/debug/pprof/symbol": 404, "/debug/pprof/trace": 404,
	} {
		resp, err := http.Get("http://127.0.0.1:" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
}
