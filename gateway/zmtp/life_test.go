package zmtp_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/wire/flow/slowlink"
)

// A message that takes far longer than Silence to pass a slow link arrives: no
// PING can pass it, and bytes move. The time of one write is no limit either.
// The peer is libzmq, which says nothing unless it is asked.
func TestLongMessageOverASlowLink(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]zmtp.Config{
		"with the default times":           {},
		"of more than Patience in a piece": {Patience: 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			long := bytes.Repeat([]byte("long"), 2<<20)
			s := serve(t, cfg, func(c *zmtp.Conn) {
				for {
					if _, err := c.Receive(); err != nil {
						return
					}
					_ = c.Send(long)
				}
			})
			cmd, out := libzmq(t, slowlink.To(t, s.Addr(), 1<<20), `
s.rcvtimeo = 30000
s.send(b"send it")
m = s.recv_multipart()
assert len(m) == 1 and m[0] == b"long" * (2 << 20), [len(f) for f in m]
`)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s; the server counts %+v", err, out, s.Ends())
			}
		})
	}
}

// A peer that answered every PING it was sent, and now neither answers nor reads
// messages, may have a queue of its own that is full: that is no death. One that
// does not answer a PING which nothing keeps it from reading is dead, whatever is
// sent to it behind that.
func TestSlowToReadIsNotDead(t *testing.T) {
	t.Parallel()
	const ping, pong = "\x04\x07\x04PING\x00\x00", "\x04\x05\x04PONG"
	for name, answered := range map[string]int{"dead": 1, "slow": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 1)
				peer, s := piped(t, false, func(c *zmtp.Conn) {
					go func() {
						tick := time.NewTicker(300 * time.Millisecond)
						defer tick.Stop()
						for {
							select {
							case <-tick.C:
								_ = c.Send([]byte("a message"))
							case <-c.Done():
								return
							}
						}
					}()
					_, err := c.Receive()
					ended <- err
				})
				go func() { // reads all, and answers the first PINGs alone
					var got strings.Builder
					b := make([]byte, 4096)
					for left := answered; ; {
						n, err := peer.Read(b)
						if err != nil {
							return
						}
						for got.Write(b[:n]); left > 0 && strings.Count(got.String(), ping) > answered-left; left-- {
							if _, err := io.WriteString(peer, pong); err != nil {
								return
							}
						}
					}
				}()
				time.Sleep(29 * time.Second)
				synctest.Wait()
				switch ends := s.Ends(); {
				case name == "dead" && ends != (zmtp.Ends{Dead: 1}):
					t.Errorf("a peer that answers no PING: %+v", ends)
				case name == "slow" && ends != (zmtp.Ends{}):
					t.Errorf("a peer that may be busy with its messages: %+v", ends)
				}
				if name == "dead" && s.Len() == 0 {
					if err := <-ended; !errors.Is(err, zmtp.ErrDead) {
						t.Errorf("it ended with %v, want %v", err, zmtp.ErrDead)
					}
				}
			})
		})
	}
}
