package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// build makes the product's binaries from the checkout, those that are not
// given.
func build(ctx context.Context, o *options, dir string) error {
	for _, b := range []struct {
		path *string
		name string
	}{{&o.coordinator, "coordinator"}, {&o.worker, "worker"}} {
		if *b.path != "" || b.name == "worker" && !o.wants("jobs") && !o.wants("speedup") {
			continue
		}
		*b.path = filepath.Join(dir, b.name)
		cmd := exec.CommandContext(ctx, "go", "build", "-o", *b.path, "./cmd/"+b.name)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the %s (run this in the bench folder): %w\n%s", b.name, err, bytes.TrimSpace(out))
		}
	}
	return nil
}
