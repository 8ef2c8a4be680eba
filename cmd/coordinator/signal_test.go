package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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

// A coordinator that systemd has started tells it when it can be asked, reloads, lives
// and stops.
func TestSystemdLearnsHowACoordinatorFares(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	told := func(want string) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatalf("no word of %s: %v", want, err)
			}
			if text := string(b[:n]); strings.HasPrefix(text, want) {
				return
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		free := "127.0.0.1:0"
		ended <- run(ctx, []string{
			"serve", "--id", "n1", "--data-dir", t.TempDir(), "--log-level", "error",
			"--http-addr", free, "--peer-addr", free, "--ops-addr", free, "--component-addr", free,
		}, nil, io.Discard, io.Discard)
	}()
	told("STATUS=opening")
	told("READY=1\nSTATUS=coordinator n1 ready to be asked: http=127.0.0.1:")
	told("WATCHDOG=1")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	told("RELOADING=1\nMONOTONIC_USEC=")
	told("READY=1")
	cancel()
	told("STOPPING=1")
	if code := <-ended; code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// The unit is one that systemd takes.
func TestTheUnitIsValid(t *testing.T) {
	text, err := os.ReadFile("../../deploy/systemd/folkmoot.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := "\n" + string(text)
	for _, line := range []string{
		"Type=notify", "DynamicUser=yes", "ExecReload=kill -HUP $MAINPID", "RestartPreventExitStatus=2 5", "Restart=always", "StateDirectory=folkmoot", "NoNewPrivileges=yes",
	} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the unit has no line %s", line)
		}
	}
	const program = "/usr/local/bin/coordinator"
	_, start, _ := strings.Cut(unit, "\nExecStart="+program+" ")
	start, _, _ = strings.Cut(start, "\n")
	if s := newServeSettings(); s.Parse(strings.Fields(start)[1:]) != nil {
		t.Errorf("the unit starts %q", start)
	}
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here: the rest of the unit is not checked")
	}
	here, err := os.Executable() // a program that is there
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "folkmoot.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(program), []byte(here)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
