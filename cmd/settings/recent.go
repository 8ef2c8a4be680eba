package settings

import (
	"bytes"
	"slices"
	"sync"
)

// RecentLog is an io.Writer that keeps the last lines of what a program logs. Its methods
// may be called from any goroutine.
type RecentLog struct {
	most int // bytes that are kept at least, once so many were written

	mu   sync.Mutex
	kept []byte // at most twice as many
}

// NewRecentLog returns an empty one that keeps the last most bytes, in whole lines.
func NewRecentLog(most int) *RecentLog { return &RecentLog{most: most} }

// Write implements io.Writer. It never fails.
func (r *RecentLog) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, p...)
	if len(r.kept) > 2*r.most {
		r.kept = append(r.kept[:0], lastLines(r.kept, r.most)...)
	}
	return len(p), nil
}

// Lines returns a copy of the last lines.
func (r *RecentLog) Lines() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(lastLines(r.kept, r.most))
}

// lastLines is the end of text that begins a line and has at most so many bytes.
func lastLines(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	begin := len(text) - most
	if text[begin-1] != '\n' {
		next := bytes.IndexByte(text[begin:], '\n')
		if next < 0 {
			return nil
		}
		begin += next + 1
	}
	return text[begin:]
}
