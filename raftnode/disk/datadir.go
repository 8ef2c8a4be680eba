package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// pathExists reports whether path is there at all.
func pathExists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// prepareDataDir makes dir if it is missing and makes sure that it can be written.
// A new directory is closed to others; one that holds something already
// is not changed unasked, so it is refused while it is open to others.
func prepareDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	// A volume that belongs to somebody else stays as its owner made it.
	if info.Mode().Perm()&0o077 != 0 && mayChmod(info) {
		if err := restrictNewDir(dir, info.Mode().Perm()); err != nil {
			return err
		}
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("data directory %s is not writable: %w", dir, err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// mayChmod reports whether this process may change the mode of a file.
func mayChmod(info os.FileInfo) bool {
	owner, ok := info.Sys().(*syscall.Stat_t)
	return !ok || os.Geteuid() == 0 || int(owner.Uid) == os.Geteuid()
}

// restrictNewDir closes a directory to others if it is new: empty, but for what the
// making of a file system leaves in its root.
func restrictNewDir(dir string, mode os.FileMode) error {
	inside, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range inside {
		if e.Name() != "lost+found" {
			return fmt.Errorf("data directory %s is open to other users (mode %04o) and holds files already (%s): nothing was changed; "+
				"if it is the one you mean, type: chmod 700 %s", dir, mode, e.Name(), shellWord(dir))
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// shellWord writes s so that a shell reads it as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func join(dir string, name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
