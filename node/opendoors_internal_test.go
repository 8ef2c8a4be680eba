package node

import (
	"strings"
	"testing"
)

// A door without a lock is open to other machines only when it is named, or all are; which are is said.
func TestOpenDoors(t *testing.T) {
	base, err := Config{ID: "n1", DataDir: t.TempDir()}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(*Config){
		"--leco-addr":      func(c *Config) { c.LECOAddr = "192.0.2.1:12300" },
		"--leco-data-addr": func(c *Config) { c.LECODataAddr = "192.0.2.1:11100" },
		"--leco-log-addr":  func(c *Config) { c.LECOLogAddr = "192.0.2.1:11098" },
	} {
		c := base
		open(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "--open-doors leco") {
			t.Errorf("%s off loopback: got %v, want a refusal that names it and the way out", name, err)
		}
		c.OpenDoors = []string{"leco"}
		if err := c.Validate(); err != nil {
			t.Errorf("%s off loopback with --open-doors leco: %v", name, err)
		}
		if got := c.insecureReason(); !strings.Contains(got, name) || !strings.Contains(got, "--open-doors") {
			t.Errorf("%s is open, and said is %q", name, got)
		}
		c.HTTPAddr = "192.0.2.1:7380"
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "--http-addr") {
			t.Errorf("--open-doors leco opened REST, too: %v", err)
		}
		c.Insecure = true
		if got := c.insecureReason(); !strings.Contains(got, name) || !strings.Contains(got, "--http-addr") {
			t.Errorf("two ports are open, and said is %q", got)
		}
	}
	for _, door := range []string{"http", "", "LECO", "peer"} {
		c := base
		c.OpenDoors = []string{door}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "--open-doors") {
			t.Errorf("--open-doors %q: got %v, want a refusal", door, err)
		}
	}
	if got := base.insecureReason(); got != "" {
		t.Errorf("on loopback %q is said", got)
	}
}
