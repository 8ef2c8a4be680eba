package flow

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a connection whose other side takes rate bytes a second. Its kernel
// holds size bytes and wakes a writer when a third of them is free.
type slow struct {
	net.Conn // nil: for what no test asks

	mu       sync.Mutex
	size     int
	rate     int
	held     int
	acked    uint64
	silent   bool // the network does not answer
	began    time.Time
	deadline time.Time
}

// pass lets the time take effect.
func (c *slow) pass() {
	now := time.Now()
	if n := min(c.held, int(now.Sub(c.began).Seconds()*float64(c.rate))); n > 0 || c.held == 0 || c.rate == 0 {
		c.held -= n
		c.acked += uint64(n)
		c.began = now
	}
}

func (c *slow) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass()
	f()
}

func (c *slow) SetWriteDeadline(t time.Time) error {
	c.change(func() { c.deadline = t })
	return nil
}

func (c *slow) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		c.change(func() {
			switch free := c.size - c.held; {
			case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
				err = os.ErrDeadlineExceeded
			case free >= c.size/3 || free >= len(b):
				k := min(free, len(b))
				c.held += k
				n += k
				b = b[k:]
			}
		})
		if len(b) > 0 && err == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	return n, err
}

func (c *slow) sample() (s sample, ok bool) {
	c.change(func() {
		s = sample{acked: c.acked, unacked: uint64(c.held), resent: c.silent && c.held > 0}
		if c.silent {
			s.lastAck = time.Hour
		}
	})
	return s, true
}

func over(c *slow, patience time.Duration) *Writer {
	c.began = time.Now()
	w := NewWriter(c, patience)
	w.kernel = c.sample
	return w
}

// A write takes as long as it takes while bytes move, though the kernel wakes
// the writer for large steps only; it fails when none moves for the patience.
func TestWriteWaitsWhileBytesMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slow{size: 6 << 20, rate: 100 << 10} // a third takes 20 s
		w := over(c, 5*time.Second)
		began := time.Now()
		if n, err := w.Write(make([]byte, 16<<20)); err != nil {
			t.Errorf("after %v and %d bytes of 16 MiB at 100 KiB/s: %v", time.Since(began), n, err)
		}
		c.change(func() { c.rate = 0 })
		began = time.Now()
		_, err := w.Write(make([]byte, 8<<20))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took < 5*time.Second || took > 7*time.Second {
			t.Errorf("a write of which nothing is taken ended after %v with %v, want a timeout after 5 s", took, err)
		}
	})
}

// The time in which a ping is on its way to the other side is not counted as
// its silence; when it has got there, or nothing moves, it is.
func TestSilenceCountsFromThePing(t *testing.T) {
	const limit = 6 * time.Second
	for name, run := range map[string]struct {
		ahead  int // bytes before the ping
		rate   int
		change func(*slow) // after 3 s
		least  time.Duration
		most   time.Duration
	}{
		"nothing before it":      {ahead: 0, rate: 1 << 20, least: limit, most: limit},
		"30 s of bytes before":   {ahead: 3000 << 10, rate: 100 << 10, least: 34 * time.Second, most: 37 * time.Second},
		"the way is cut":         {ahead: 3000 << 10, rate: 100 << 10, change: func(c *slow) { c.rate, c.silent = 0, true }, least: limit, most: limit},
		"it takes nothing more":  {ahead: 3000 << 10, rate: 100 << 10, change: func(c *slow) { c.rate = 0 }, least: limit, most: 3*time.Second + 2*limit},
		"it never took anything": {ahead: 3000 << 10, rate: 0, least: limit, most: 2 * limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &slow{size: 6 << 20, rate: run.rate}
				w := over(c, 5*time.Second)
				if _, err := w.Write(make([]byte, run.ahead+1)); err != nil {
					t.Fatal(err)
				}
				w.PingSent()
				if run.change != nil {
					time.AfterFunc(3*time.Second, func() { c.change(func() { run.change(c) }) })
				}
				go func() { // pings go on
					tick := time.NewTicker(2 * time.Second)
					defer tick.Stop()
					for {
						select {
						case <-tick.C:
							_, _ = c.Write([]byte{1})
							w.PingSent()
						case <-t.Context().Done():
							return
						}
					}
				}()
				began := time.Now()
				time.Sleep(limit)
				for {
					more := w.SilenceAllowance(time.Since(began), limit)
					if more == 0 {
						break
					}
					time.Sleep(more)
				}
				if took := time.Since(began); took < run.least || took > run.most {
					t.Errorf("silent for too long after %v, want between %v and %v", took, run.least, run.most)
				}
			})
		})
	}
}

// A pong ends the ping under way, but not one that answers an earlier ping.
func TestFirstPingCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slow{size: 6 << 20, rate: 100 << 10}
		w := over(c, 5*time.Second)
		if _, err := w.Write(make([]byte, 1000<<10)); err != nil {
			t.Fatal(err)
		}
		w.PingSent() // it gets there after 10 s
		time.Sleep(time.Second)
		w.PongReceived() // that was to an earlier one
		if !w.PingInTransit(5 * time.Second) {
			t.Error("the ping is not on its way")
		}
		time.Sleep(15 * time.Second)
		if w.PingInTransit(5 * time.Second) {
			t.Error("the ping is on its way though all was taken")
		}
		w.PongReceived()
		if _, err := w.Write(make([]byte, 1000<<10)); err != nil {
			t.Fatal(err)
		}
		w.PingSent()
		if !w.PingInTransit(5 * time.Second) {
			t.Error("the second ping is not on its way")
		}
	})
}

// While a write waits, no ping can be sent: only the write has a limit.
func TestNoPingWhileAWriteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slow{size: 1 << 20, rate: 100 << 10}
		w := over(c, 5*time.Second)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = w.Write(make([]byte, 4<<20))
		}()
		time.Sleep(20 * time.Second)
		if w.SilenceAllowance(20*time.Second, 6*time.Second) == 0 {
			t.Error("silent for too long, though no ping was sent")
		}
		<-done
		silent := 40 * time.Second
		if w.SilenceAllowance(silent, 6*time.Second) == 0 {
			t.Error("silent for too long, though the ping is sent only now")
		}
		time.Sleep(7 * time.Second)
		if w.SilenceAllowance(silent+7*time.Second, 6*time.Second) != 0 {
			t.Error("silent for ever where no ping is sent")
		}
		w.PingSent()
		time.Sleep(15 * time.Second) // it got there
		if more := w.SilenceAllowance(silent+22*time.Second, 6*time.Second); more != 0 {
			t.Errorf("15 s after a ping it may be silent for %v more", more)
		}
		w.PongReceived()
		w.PingSent()
		time.Sleep(2 * time.Second)
		if more := w.SilenceAllowance(silent, 6*time.Second); more < time.Second || more > 3*time.Second {
			t.Errorf("2 s after a ping, 38 s late, it may be silent for %v more, want 2 s", more)
		}
	})
}

// What is written while the other side reads nothing is little, so that a ping
// behind it does not wait for megabytes.
func TestLimitUnsent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if raw := rawConn(conn); raw == nil {
		t.Skip("this kernel cannot be asked")
	} else if _, ok := query(raw); !ok {
		t.Skip("this kernel cannot be asked")
	}
	LimitUnsent(conn)
	w := NewWriter(conn, time.Second)
	n, err := w.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were written to one that reads nothing: %v", n, err)
	}
	if s, ok := w.kernel(); !ok || s.unacked > 2*unsent {
		t.Errorf("the kernel holds %d bytes that were not taken, want at most %d", s.unacked, 2*unsent)
	}
	go func() { _, _ = io.Copy(io.Discard, other) }()
	if _, err := w.Write(make([]byte, 8<<20)); err != nil {
		t.Errorf("once it reads: %v", err)
	}
}
