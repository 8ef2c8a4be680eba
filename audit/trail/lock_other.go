//go:build !unix

package trail

import (
	"errors"
	"os"
)

// lockFile refuses: a trail is only read where no coordinator runs.
func lockFile(*os.File) error { return errors.New("an audit trail is written on Unix only") }
