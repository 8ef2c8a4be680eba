package main

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *logBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *logBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A coordinator whose terminal is closed goes on, says so and reads its files again; without this the signal would end
// the test's process.
func TestHangUpReloadsAndEndsNobody(t *testing.T) {
	log := new(logBuffer)
	h := newHangUps(slog.New(slog.NewTextHandler(log, nil)))
	defer h.stop()
	hang := func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hang() // while the node is still opening
	for end := time.Now().Add(time.Minute); !strings.Contains(log.String(), "SIGHUP"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no word of the signal in the log")
		}
	}
	reloaded := make(chan struct{}, 1)
	h.call(func() { reloaded <- struct{}{} })
	hang()
	select {
	case <-reloaded:
	case <-time.After(30 * time.Second):
		t.Error("the signal did not reload")
	}
}
