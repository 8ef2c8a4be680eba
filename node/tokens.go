package node

import (
	"fmt"
	"os"
	"strings"

	"github.com/folkmoot/folkmoot/control"
)

// loadTokens loads bearer tokens, one a line, as hashes; blank lines and lines
// that begin with # are skipped. Without a path there are none.
func loadTokens(path string) (hashes []string, err error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(line) < 16 {
			return nil, fmt.Errorf("--token-file %s: a token of %d characters is too easy to guess; at least 16", path, len(line))
		}
		hashes = append(hashes, control.HashToken(line))
	}
	if len(hashes) == 0 {
		return nil, fmt.Errorf("--token-file %s holds no token", path)
	}
	return hashes, nil
}
