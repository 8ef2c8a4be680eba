//go:build unix

package session_test

import (
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/session"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
)

// ahead is how many messages the sender of the benchmark may be ahead of its
// receiver: what a connection may have under way. A mailbox that a connection
// takes from holds more, so none is refused as busy.
const ahead = 4096

// Messages of one native session to another one at another coordinator, with a
// receipt for each. The clients only copy and count.
func BenchmarkAcrossCoordinators(b *testing.B) {
	for _, size := range []int{128, 1 << 10, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ahead := min(ahead, 12<<20/size) // of the bytes it holds less
			w := newTestCluster(b, settings{limits: session.Limits{}, router: router.Limits{}}, "n1", "n2")
			sender, receiver := w.nodes["n1"].signInQuiet(b, "a"), w.nodes["n2"].signInQuiet(b, "b")
			frame, err := wire.AppendFrame(nil, &wire.Message{To: "n2.b", ID: 1, Payload: [][]byte{make([]byte, size)}})
			must(b, err)
			batch := max(1, min(ahead/4, 32<<10/len(frame)))
			var frames []byte
			for range batch {
				frames = append(frames, frame...)
			}
			var got, told atomic.Int64
			moved := make(chan struct{}, 1)
			tell := func(count *atomic.Int64, n int64) {
				count.Add(n)
				select {
				case moved <- struct{}{}:
				default:
				}
			}
			arrived := len(frame) + len("n1.a")
			go func() { // frames of one length
				buf := make([]byte, 256<<10)
				var rest int
				for {
					n, err := receiver.raw.Read(buf)
					if err != nil {
						return
					}
					rest += n
					if k := rest / arrived; k > 0 {
						rest -= k * arrived
						tell(&got, int64(k))
					}
				}
			}()
			go func() {
				for {
					m, err := sender.next()
					if err != nil {
						return
					}
					if m.To != "" {
						b.Errorf("not delivered: %s", m.Payload[0])
						return
					}
					if m.Type == wire.TypeReceipt {
						tell(&told, int64(len(m.Payload[0])/3))
					}
				}
			}()
			wait := func(n int64) {
				for min(got.Load(), told.Load()) < n {
					select {
					case <-moved:
					case <-time.After(20 * time.Second):
						b.Fatalf("got %d, told %d of %d", got.Load(), told.Load(), n)
					}
				}
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			cpu := processorTime()
			for sent := 0; sent < b.N; sent += batch {
				n := min(batch, b.N-sent)
				wait(int64(sent + n - ahead))
				if _, err := sender.conn.Write(frames[:n*len(frame)]); err != nil {
					b.Fatal(err)
				}
			}
			wait(int64(b.N))
			b.StopTimer()
			b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			sender.conn.Close()
			receiver.conn.Close()
		})
	}
}

// One message at a time between two native sessions at two coordinators, there
// and back.
func BenchmarkRoundTrip(b *testing.B) {
	w := newTestCluster(b, settings{}, "n1", "n2")
	x, y := w.nodes["n1"].signInQuiet(b, "a"), w.nodes["n2"].signInQuiet(b, "b")
	there, err := wire.AppendFrame(nil, &wire.Message{To: "n2.b", Payload: [][]byte{make([]byte, 128)}})
	must(b, err)
	back, err := wire.AppendFrame(nil, &wire.Message{To: "n1.a", Payload: [][]byte{make([]byte, 128)}})
	must(b, err)
	size := len(there) + len("n1.a")
	go func() {
		buf := make([]byte, size)
		for {
			if _, err := io.ReadFull(y.raw, buf); err != nil {
				return
			}
			if _, err := y.conn.Write(back); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, size)
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processorTime()
	for range b.N {
		x.write(there)
		if _, err := io.ReadFull(x.raw, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(processorTime()-cpu)/float64(b.N), "cpu-ns/op")
	x.conn.Close()
	y.conn.Close()
}

// signInQuiet signs a client in that may be silent for long.
func (s *testNode) signInQuiet(t testing.TB, name string) *testClient {
	g := s.dial(t, wire.LongestPing)
	g.signIn(wire.Hello{SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}})
	return g
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
