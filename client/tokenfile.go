package client

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// ReadTokenFile returns the token that a file holds: its first line that is neither blank nor a comment (#). Its errors
// name the file.
func ReadTokenFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, wire.TokenHashPrefix):
			return "", fmt.Errorf("%s holds only the hash of a token: coordinators can use it, a client needs the token itself", path)
		case strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
			return "", fmt.Errorf("%s: the first line that is no comment is no token: it has a blank, or what is no plain character", path)
		}
		return line, nil
	}
	return "", fmt.Errorf("%s holds no token: each of its lines is blank or a comment", path)
}

// tokenFileAge is how old what was read of a token file may be.
const tokenFileAge = 10 * time.Second

// tokenSource is a token, or the file that holds it, which is read again now and then: whoever replaces a token need not
// start its users anew.
type tokenSource struct {
	path string // "": token is given

	mu    sync.Mutex
	token string
	read  time.Time
}

// newTokenSource returns the source of a token, or of the file at path if that is given. Its errors name the file.
func newTokenSource(token, path string) (*tokenSource, error) {
	s := &tokenSource{path: path, token: token}
	if path == "" {
		return s, nil
	}
	if token != "" {
		return nil, fmt.Errorf("a token and a token file (%s) are given: one of them is enough", path)
	}
	var err error
	s.token, err = ReadTokenFile(path)
	s.read = time.Now()
	return s, err
}

// current returns the token, "" if there is none. A file that cannot be read any more leaves the token that it held.
func (s *tokenSource) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" && time.Since(s.read) > tokenFileAge {
		s.read = time.Now()
		if token, err := ReadTokenFile(s.path); err == nil {
			s.token = token
		}
	}
	return s.token
}
