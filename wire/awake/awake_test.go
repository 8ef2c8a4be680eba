package awake_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/wire/awake"
)

// In a process that runs all the time, awake time is time.
func TestAwakeTimeIsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := awake.New(time.Second)
		go c.Run(t.Context())
		time.Sleep(time.Hour)
		if got := c.Now(); got != time.Hour {
			t.Errorf("after an hour the clock shows %s", got)
		}
		began := time.Now()
		done := make(chan time.Duration)
		awake.AfterFunc(10*time.Second, func() { done <- time.Since(began) })
		if got := <-done; got != 10*time.Second {
			t.Errorf("a timer of 10 s ended after %s", got)
		}
		early := awake.AfterFunc(10*time.Second, func() { t.Error("a stopped timer ended") })
		time.Sleep(9 * time.Second)
		if !early.Stop() {
			t.Error("the timer says that it ended before it was stopped")
		}
		if early.Stop() {
			t.Error("the timer says twice that it was stopped in time")
		}
		time.Sleep(time.Minute)
	})
}

// A look that comes late finds that the process stood still.
func TestAPauseIsOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := awake.New(time.Second)
		for _, step := range []struct{ pause, now time.Duration }{
			{time.Second, time.Second},
			{4 * time.Second, 5 * time.Second}, // busy
			{time.Hour, 6 * time.Second},       // stopped
			{time.Second, 7 * time.Second},
		} {
			time.Sleep(step.pause) // nobody looks meanwhile
			if got := c.Now(); got != step.now {
				t.Errorf("after %s more the clock shows %s, want %s", step.pause, got, step.now)
			}
		}
	})
}

// Silence ends a read after the limit, each byte begins it anew, and who ends
// the read is heard.
func TestReaderEndsWithSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		defer here.Close()
		var ended error
		r := &awake.Reader{Conn: here, Limit: 6 * time.Second, Ended: func() error { return ended }}
		go func() {
			for range 10 {
				time.Sleep(5900 * time.Millisecond)
				there.Write([]byte("."))
			}
		}()
		b := make([]byte, 1)
		for i := range 10 {
			if _, err := r.Read(b); err != nil {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
		began := time.Now()
		if _, err := r.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 6*time.Second {
			t.Errorf("silence gave %v after %s, want a timeout after 6 s", err, time.Since(began))
		}
		ended = errors.New("stopping")
		if _, err := r.Read(b); err != ended {
			t.Errorf("an ended read gave %v", err)
		}
	})
}

// Who may be silent for longer than the limit is waited for so long.
func TestReaderWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		defer here.Close()
		var asked []time.Duration
		r := &awake.Reader{Conn: here, Limit: 6 * time.Second, More: func(silent time.Duration) time.Duration {
			asked = append(asked, silent)
			return max(0, 9*time.Second-silent)
		}}
		began := time.Now()
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 9*time.Second {
			t.Errorf("silence gave %v after %s, want a timeout after 9 s", err, time.Since(began))
		}
		if len(asked) != 2 || asked[0] != 6*time.Second || asked[1] != 9*time.Second {
			t.Errorf("it was asked at %v, want 6 s and 9 s", asked)
		}
	})
}

// limit is what the stopped process below waits for. It stands still for much
// longer.
const limit = 4 * time.Second

// TestMain runs the process that is stopped, if it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("AWAKE_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	if err := stoppedProcess(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("well")
}

// stoppedProcess has a watchdog, a clock and a silent connection when it is
// stopped, and tells what they say when it goes on.
func stoppedProcess() error {
	here, there, err := sockets()
	if err != nil {
		return err
	}
	c := awake.New(limit / 16)
	overdue := make(chan struct{})
	awake.AfterFunc(limit, func() { close(overdue) })
	read := make(chan error, 1)
	go func() {
		_, err := (&awake.Reader{Conn: here, Limit: limit}).Read(make([]byte, 1))
		read <- err
	}()
	began := time.Now()
	fmt.Println("ready")
	for time.Since(began) < 2*limit {
		time.Sleep(10 * time.Millisecond)
		c.Now()
	}
	if now := c.Now(); now > limit {
		return fmt.Errorf("the clock shows %s", now)
	}
	select {
	case <-overdue:
		return errors.New("the watchdog ended")
	default:
	}
	// What comes now comes in time.
	there.Write([]byte("."))
	return <-read
}

func sockets() (a, b net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}

// A process that was stopped judges nobody by that time.
func TestAStoppedProcessJudgesNobody(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "AWAKE_TEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if first, err := lines.ReadString('\n'); err != nil || first != "ready\n" {
		t.Fatalf("the process said %q, %v", first, err)
	}
	cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(2 * limit) // nothing tells when it has been stopped for long enough
	cmd.Process.Signal(syscall.SIGCONT)
	last, _ := lines.ReadString('\n')
	if err := cmd.Wait(); err != nil || strings.TrimSpace(last) != "well" {
		t.Errorf("after %s of standing still: %q, %v", 2*limit, last, err)
	}
}
