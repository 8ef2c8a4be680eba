package sdnotify_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/cmd/sdnotify"
)

// manager listens as systemd does.
func manager(t *testing.T, name string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	return func() string {
		b := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// What is told arrives, at a socket with a path and at an abstract one.
func TestSystemdIsTold(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@folkmoot-test-%d", os.Getpid())} {
		told := manager(t, name)
		t.Setenv("WATCHDOG_USEC", "30000000")
		t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
		n, err := sdnotify.New()
		if err != nil {
			t.Fatal(err)
		}
		if n.WatchdogInterval() != 15*time.Second {
			t.Errorf("a sign of life every %s, want 15s", n.WatchdogInterval())
		}
		if left := os.Getenv("NOTIFY_SOCKET") + os.Getenv("WATCHDOG_USEC") + os.Getenv("WATCHDOG_PID"); left != "" {
			t.Errorf("what this process starts would get %q", left)
		}
		if err := n.Send(sdnotify.Ready, sdnotify.Status("ready\nto be asked")); err != nil {
			t.Fatal(err)
		}
		if got := told(); got != "READY=1\nSTATUS=ready to be asked" {
			t.Errorf("told was %q", got)
		}
		if err := n.Send(sdnotify.Reloading()); err != nil {
			t.Fatal(err)
		}
		if got := told(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]+$`).MatchString(got) {
			t.Errorf("told was %q", got)
		}
		if err := n.Send(sdnotify.MoreTime(90 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if got := told(); got != "EXTEND_TIMEOUT_USEC=90000000" {
			t.Errorf("told was %q", got)
		}
	}
}

// Without systemd nobody is told; nonsense is named.
func TestWithoutSystemd(t *testing.T) {
	for want, env := range map[string][3]string{
		"":              {},
		"NOTIFY_SOCKET": {"relative", "", ""},
		"WATCHDOG_USEC": {"/run/notify", "soon", ""},
	} {
		for i, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
			t.Setenv(name, env[i])
		}
		n, err := sdnotify.New()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v: got %v, want an error with %q", env, err, want)
		}
		if n.WatchdogInterval() != 0 {
			t.Errorf("%v: a sign of life every %s", env, n.WatchdogInterval())
		}
		if env[0] != "/run/notify" {
			if err := n.Send(sdnotify.Ready); err != nil {
				t.Errorf("%v: %v", env, err)
			}
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n, err := sdnotify.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Send(sdnotify.Ready); err == nil {
		t.Error("a socket that is gone was told")
	}
	// The watchdog of the parent is not this process's.
	t.Setenv("NOTIFY_SOCKET", "/run/notify")
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", "1")
	if n, err := sdnotify.New(); err != nil || n.WatchdogInterval() != 0 {
		t.Errorf("of another process: every %s, %v", n.WatchdogInterval(), err)
	}
}
