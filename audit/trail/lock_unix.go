//go:build unix

package trail

import (
	"os"
	"syscall"
)

// lockFile takes the lock of a file, or refuses at once.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
