package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/wire"
)

// However short the grace, a name is given to somebody else only when the guard of
// whoever had it has given up: when its home died, and when its home lives on and
// has lost the others.
func TestStormNobodyHasANameTwice(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	c := startCluster(t, 3, "--grace", "1s")
	n1, n2, n3 := c.nodes[0], c.nodes[1], c.nodes[2]
	signIn := func(name string, lease time.Duration, at *process) *client.Session {
		n, err := client.Dial(t.Context(), client.Component{
			Addrs:  []string{at.component},
			SignIn: wire.SignIn{Name: name, Namespace: "n1", Lease: wire.Duration(lease)},
			Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
				if addr != at.component {
					return nil, errors.New("it knows one coordinator only")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", addr)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close(t.Context()) })
		return n
	}
	first := signIn("laser", 12*time.Second, n3)
	n3.kill()
	eventually(t, "the name is free", func(ctx ctx) error {
		_, _, err := n1.api().SignIn(ctx, wire.SignIn{Name: "laser", Namespace: "n1"}, "")
		return err
	})
	if first.Context().Err() == nil {
		t.Error("somebody else has the name of a component that takes it for its own")
	}

	lonely := signIn("stage", 4*time.Second, n2)
	n1.signal(syscall.SIGSTOP)
	eventually(t, "the component gives up", func(ctx) error {
		if lonely.Context().Err() == nil {
			return fmt.Errorf("its home has lost the others, who may have given its name away, and it goes on")
		}
		return nil
	})
	n1.signal(syscall.SIGCONT)
	n3.start()
	c.waitHealthy(3)
	c.agree()
}
