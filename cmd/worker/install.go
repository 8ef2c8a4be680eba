//go:build unix

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install FILE", Short: "Copy this program to a file",
		Long: "Copies this program to FILE, which others may run. In a container image without a shell that is how an init container\n" +
			"puts the worker beside the tools that jobs need, in another image.",
		Example: "  worker install /opt/folkmoot/worker",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("install: want one argument, the file to write")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return install(args[0]) },
	}
}

// install copies the program that runs to path. A program that is there is
// replaced at once; one that runs goes on.
func install(path string) (err error) {
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	from, err := os.Open(own)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(to.Name())
		}
	}()
	_, err = io.Copy(to, from)
	if err = cmp.Or(err, to.Chmod(0o755), to.Sync()); err != nil {
		return errors.Join(fmt.Errorf("install: write %s: %w", to.Name(), err), to.Close())
	}
	if err := to.Close(); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if err := os.Rename(to.Name(), path); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return nil
}
