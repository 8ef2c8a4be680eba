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

// A coordinator whose terminal is closed goes on and says so; without this the signal would end the test's process.
func TestHangUpDoesNotEndACoordinator(t *testing.T) {
	log := new(logBuffer)
	stop := ignoreHangUp(slog.New(slog.NewTextHandler(log, nil)))
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "SIGHUP"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no word of the signal in the log")
		}
	}
}
