//go:build unix

package router_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// gauge lets at most window messages be under way without a lock or a wake-up
// for each of them.
type gauge struct {
	window  int64
	begun   int64 // the sender's
	ended   atomic.Int64
	wanted  atomic.Int64 // the sender waits until so many have ended
	reached chan struct{}
}

func newGauge(window int64) *gauge {
	g := &gauge{window: window, reached: make(chan struct{}, 1)}
	g.wanted.Store(-1)
	return g
}

// begin waits for room.
func (g *gauge) begin() {
	g.begun++
	if g.begun-g.ended.Load() > g.window {
		g.await(g.begun - g.window/2)
	}
}

func (g *gauge) end(n int64) {
	now := g.ended.Add(n)
	if w := g.wanted.Load(); w >= 0 && now >= w && g.wanted.CompareAndSwap(w, -1) {
		g.reached <- struct{}{}
	}
}

func (g *gauge) await(n int64) {
	g.wanted.Store(n)
	if g.ended.Load() >= n && g.wanted.CompareAndSwap(n, -1) {
		return
	}
	<-g.reached
}

// Messages of one sender to one receiver over a TCP link, each with its
// outcome and taken out of the mailbox by a connection's consumer.
func BenchmarkOverALink(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			limits := quick
			limits.MailboxMessages, limits.MailboxBytes = 1<<30, 1<<40
			w := newWorld()
			n := w.start(b, limits, "n1", "n2")
			linked(b, n...)
			n[0].signIn(b, "n1.a")
			n[1].signIn(b, "n2.b")
			taken := newGauge(min(4096, 32<<20/int64(size)))
			answered := newGauge(taken.window)
			var failed atomic.Int64
			awake := make(chan struct{}, 1)
			mail, err := n[1].Consume("session of n2.b", func(router.WriteMode) {
				select {
				case awake <- struct{}{}:
				default:
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			stop := make(chan struct{})
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				var msgs []wire.Message
				for {
					msgs, err = mail.Take(msgs[:0], 256, 64<<10)
					if err != nil {
						b.Error(err)
						return
					}
					if len(msgs) > 0 {
						clear(msgs)
						taken.end(int64(len(msgs)))
						continue
					}
					select {
					case <-awake:
					case <-stop:
						return
					}
				}
			}()
			done := func(o router.Outcome, err error) {
				if err != nil {
					failed.Add(1)
				}
				answered.end(1)
			}
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			cpu := processorTime()
			for range b.N {
				taken.begin()
				answered.begin()
				n[0].PostWith(wire.Message{From: "n1.a", To: "n2.b", Payload: [][]byte{payload}}, router.PostOptions{Timeout: 20 * time.Second, Borrowed: true}, done)
			}
			answered.await(int64(b.N))
			taken.await(int64(b.N))
			b.StopTimer()
			b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			if f := failed.Load(); f > 0 {
				b.Errorf("%d of %d were not delivered", f, b.N)
			}
			close(stop)
			<-stopped
		})
	}
}

// One message at a time, there and back.
func BenchmarkRoundTrip(b *testing.B) {
	w := newWorld()
	n := w.start(b, quick, "n1", "n2")
	linked(b, n...)
	take := func(at *node, full string) func() {
		at.signIn(b, full)
		awake := make(chan struct{}, 1)
		mail, err := at.Consume("session of "+full, func(router.WriteMode) { awake <- struct{}{} })
		if err != nil {
			b.Fatal(err)
		}
		var msgs []wire.Message
		return func() {
			for {
				msgs, err = mail.Take(msgs[:0], 1, 1)
				if err != nil {
					b.Fatal(err)
				}
				if len(msgs) > 0 {
					return
				}
				<-awake
			}
		}
	}
	there, back := take(n[1], "n2.b"), take(n[0], "n1.a")
	payload := make([]byte, 128)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processorTime()
	defer func() { b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op") }()
	for range b.N {
		n[0].Post(wire.Message{From: "n1.a", To: "n2.b", Payload: [][]byte{payload}}, nil)
		there()
		n[1].Post(wire.Message{From: "n2.b", To: "n1.a", Payload: [][]byte{payload}}, nil)
		back()
	}
}

// processorTime is what this process has used: on a machine with other work a
// better measure than the clock.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are right
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
