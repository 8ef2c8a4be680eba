package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/control"

	"github.com/folkmoot/folkmoot/wire"
)

// Bounds of a token file.
const (
	minToken     = 32 // characters of a token
	maxTokenFile = 1 << 20
)

// parseTokens returns the hashes of the bearer tokens of a file, one a line; blank
// lines and lines that begin with # are skipped. No error has a token in it.
func parseTokens(text []byte) (hashes []string, err error) {
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		hash, err := tokenHash(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		hashes = append(hashes, hash)
	}
	if len(hashes) == 0 {
		return nil, errors.New("it holds no token: raftctl tokens new prints one")
	}
	return hashes, nil
}

func tokenHash(line string) (string, error) {
	if digits, hashed := strings.CutPrefix(line, wire.TokenHashPrefix); hashed {
		if raw, err := hex.DecodeString(digits); err != nil || len(raw) != 32 {
			return "", fmt.Errorf("behind %s come the 64 hex digits of a token's SHA-256", wire.TokenHashPrefix)
		}
		return strings.ToLower(digits), nil
	}
	if len(line) < minToken {
		return "", fmt.Errorf("a token of %d characters is too easy to guess, at least %d are needed: raftctl tokens new prints one", len(line), minToken)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("a token is printable ASCII, or it would not travel in a header")
	}
	return control.HashToken(line), nil
}

// tokenFile is the file of --token-file, which is read again while the node runs.
type tokenFile struct {
	path string
	use  func(hashes []string) error

	mu   sync.Mutex
	used []byte // the text in use
	last []byte // as it was read last
}

// read reads the file and, if it is not what is in use, uses it. Unless it must be
// used now, it has to be the same as at the read before: one that is being written
// ends no token. changed reports that other tokens are in use now.
func (f *tokenFile) read(now bool) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := readTokenFile(f.path)
	if err != nil {
		return false, fmt.Errorf("--token-file %s: %w", f.path, err)
	}
	settled := bytes.Equal(text, f.last)
	f.last = text
	if f.used != nil && (bytes.Equal(text, f.used) || !now && !settled) {
		return false, nil
	}
	hashes, err := parseTokens(text)
	if err == nil {
		err = f.use(hashes)
	}
	if err != nil {
		return false, fmt.Errorf("--token-file %s: %w", f.path, err)
	}
	f.used = text
	return true, nil
}

// readTokenFile returns what is in a file, which must not be long.
func readTokenFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var reason *os.PathError
		if errors.As(err, &reason) {
			err = reason.Err // the path is named already
		}
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err == nil && len(text) > maxTokenFile {
		err = fmt.Errorf("it has more than %d bytes", maxTokenFile)
	}
	return text, err
}

// openTokens reads the token file, before anything is written anywhere, and makes
// the token of the own worker, which never leaves this process.
func (o *opener) openTokens(context.Context) (err error) {
	if o.authenticator, err = control.NewAuthenticator(nil); err != nil {
		return err
	}
	if o.cfg.TokenFile != "" {
		o.tokens = &tokenFile{path: o.cfg.TokenFile, use: o.authenticator.SetFile}
		if _, err := o.tokens.read(true); err != nil {
			return &ConfigError{err}
		}
		o.OnReload("token file", func() error {
			_, err := o.tokens.read(true)
			return err
		})
	}
	o.workerToken = rand.Text() + rand.Text()
	return o.authenticator.SetWorker(control.HashToken(o.workerToken))
}

// tokenFileEvery is how often the token file is read: a change counts at the second
// read that finds it, within 10 s.
const tokenFileEvery = 4 * time.Second

// watchTokens reads the token file again and again until ctx ends. A file that
// cannot be used is logged, once, and the tokens of before stay.
func (n *Node) watchTokens(ctx context.Context) error {
	if n.tokens == nil {
		return nil
	}
	reason := ""
	for control.Sleep(ctx, tokenFileEvery) {
		switch changed, err := n.tokens.read(false); {
		case err != nil && err.Error() != reason:
			reason = err.Error()
			n.log.Error("the token file was read again and cannot be used: the tokens of before stay", "err", err)
		case err == nil:
			reason = ""
			if changed {
				n.log.Info("the token file was read again: its tokens are in use", "file", n.tokens.path)
			}
		}
	}
	return nil
}
