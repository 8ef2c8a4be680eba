package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// beComponent is what a child of the tests does: it signs in and stays until it is
// killed.
func beComponent(at string) {
	addr, name, _ := strings.Cut(at, " ")
	n, err := client.Dial(context.Background(), client.Component{Addrs: []string{addr}, SignIn: wire.SignIn{Name: name, Lease: wire.Duration(10 * time.Minute)}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("in")
	<-n.Done()
	os.Exit(1)
}

// pythonComponent is beComponent in Python.
const pythonComponent = `
import asyncio, sys, folkmoot

async def main():
    async with folkmoot.connect(sys.argv[1], sys.argv[2], lease=600):
        print("in", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
`

// child starts a component in a process of its own and waits until it is signed in.
func child(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	word := make([]byte, 2)
	if _, err := out.Read(word); err != nil || string(word) != "in" {
		t.Fatalf("the component said %q, %v", word, err)
	}
}

// cutter dials, and can take the way to an address away.
type cutter struct {
	mu    sync.Mutex
	cut   map[string]bool
	conns map[string][]net.Conn
}

func (c *cutter) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	cut := c.cut[addr]
	c.mu.Unlock()
	if cut {
		return nil, errors.New("the way is cut")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.conns[addr] = append(c.conns[addr], conn)
	}
	return conn, err
}

func (c *cutter) take(addrs ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, addr := range addrs {
		c.cut[addr] = true
		for _, conn := range c.conns[addr] {
			conn.Close()
		}
	}
}

func (c *cutter) give(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cut, addr)
}

// tried tells whether the way to an address was gone.
func (c *cutter) tried(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns[addr]) > 0
}

// A component is never without its name by its own doing, and a name never with
// a component that is gone.
func TestOwnAttemptsAndComponentsThatAreGone(t *testing.T) {
	t.Parallel()
	c, doors := nativeCluster(t)

	// The kernel closes the connection of a process that is killed: the name is free
	// soon, long before the lease of ten minutes is over.
	killed := map[string]*exec.Cmd{"go": exec.Command(os.Args[0], "-test.run=^$")}
	killed["go"].Env = append(cleanEnv(), "FOLKMOOT_TEST_COMPONENT="+c.nodes[0].component+" go")
	if exec.Command("python3", "-c", "import sys; sys.exit(sys.version_info < (3, 9))").Run() == nil {
		killed["python"] = exec.Command("python3", "-c", pythonComponent, c.nodes[1].component, "python")
		killed["python"].Env = append(cleanEnv(), "PYTHONPATH=../sdk/python", "PYTHONDONTWRITEBYTECODE=1")
	}
	namespace := map[string]string{"go": "n1", "python": "n2"}
	for name, cmd := range killed {
		child(t, cmd)
		c.has(namespace[name]+"."+name, namespace[name])
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	for name := range killed {
		eventually(t, "the name of a component that was killed", func(ctx ctx) error {
			_, _, err := c.api().Component(ctx, namespace[name]+"."+name, client.Read{Consistency: "strict"})
			if wire.CodeOf(err) == wire.CodeNotFound {
				return nil
			}
			return fmt.Errorf("%s has its name still (%v)", name, err)
		})
	}

	// A coordinator that stands still takes a sign-in into its socket. The client gives
	// it up and signs in elsewhere; then the first one goes on.
	leader := c.leader()
	still := c.others(leader)[0]
	home := c.others(leader)[1]
	way := &cutter{cut: map[string]bool{}, conns: map[string][]net.Conn{}}
	laser := c.component("laser", doors[home.name], client.Component{
		Dialer: way.dial, SignIn: wire.SignIn{Lease: wire.Duration(time.Minute)},
	})
	life := laser.Context()
	still.signal(syscall.SIGSTOP)
	way.take(home.component, leader.component)
	eventually(t, "a try at the one that stands still", func(ctx) error {
		if !way.tried(still.component) {
			return errors.New("none yet")
		}
		return nil
	})
	way.give(leader.component)
	eventually(t, "the component at the one that runs", func(ctx) error {
		if at := laser.Welcome().Home; at != leader.name {
			return fmt.Errorf("it is at %s", at)
		}
		return nil
	})
	still.signal(syscall.SIGCONT)
	c.waitHealthy(3)
	c.agree()
	time.Sleep(time.Second) // what lay in its socket is done by now
	if life.Err() != nil || laser.Welcome().Home != leader.name {
		t.Errorf("it is at %s, %v; want it at %s where it signed in last", laser.Welcome().Home, context.Cause(life), leader.name)
	}
	c.has(laser.FullName(), leader.name)
}
