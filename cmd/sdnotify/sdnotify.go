// Package sdnotify tells systemd how a service of Type=notify fares, as
// sd_notify(3) describes it.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The states that systemd knows, for Notifier.Send.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Watchdog = "WATCHDOG=1"
)

// Notifier tells the service manager. The zero Notifier, and one made where there
// is none, tells nobody. Its methods may be called from any goroutine.
type Notifier struct {
	socket string
	every  time.Duration
}

// New returns the notifier of this process, by its environment, and takes
// it from there: what this process starts is another service. The error names a
// variable that makes no sense.
func New() (n Notifier, err error) {
	n.socket = os.Getenv("NOTIFY_SOCKET")
	if n.socket != "" && n.socket[0] != '/' && n.socket[0] != '@' {
		err = fmt.Errorf("NOTIFY_SOCKET %q is neither a path nor an abstract socket", n.socket)
		n.socket = ""
	}
	usec, pid := os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, variable := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(variable)
	}
	if n.socket == "" || usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, err
	}
	us, parse := strconv.ParseUint(usec, 10, 50)
	if parse != nil || us == 0 {
		return n, fmt.Errorf("WATCHDOG_USEC %q is no time in microseconds", usec)
	}
	n.every = time.Duration(us) * time.Microsecond / 2
	return n, err
}

// WatchdogInterval is how often to send Watchdog while all is well: half of what systemd
// waits for. 0: it does not wait.
func (n Notifier) WatchdogInterval() time.Duration { return n.every }

// Send tells states, each "NAME=value". Nil without a service manager. It does not
// block: systemd reads, or the kernel refuses.
func (n Notifier) Send(states ...string) error {
	if n.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	if _, err := conn.Write([]byte(strings.Join(states, "\n"))); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	return nil
}

// Status is a line for systemctl status.
func Status(text string) string {
	return "STATUS=" + strings.ReplaceAll(text, "\n", " ")
}

// Reloading says that settings are read again, until Ready is sent.
func Reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// MoreTime says that the start, or the end, needs so much longer from now on.
func MoreTime(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}
