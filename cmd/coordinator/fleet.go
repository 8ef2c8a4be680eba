package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// fleet is the processes of a demo: coordinators and workers, each with a log
// file, all in one temporary folder. They end with this process, however it
// ends: each is told by the kernel to die when its parent does.
type fleet struct {
	dir    string
	binary string
	procs  []*proc
	start  chan func() // runs on one thread that lives as long as the fleet
}

// proc is one process of the fleet.
type proc struct {
	name string
	args []string
	http string // of a coordinator
	cmd  *exec.Cmd
	done chan struct{}
}

const fleetPrefix = "folkmoot-demo-"

// newFleet makes the folder, and removes those of demos that were killed.
func newFleet() (*fleet, error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), fleetPrefix+"*"))
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), fleetPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", fleetPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	f := &fleet{dir: dir, binary: self, start: make(chan func())}
	go func() {
		// The parent-death signal follows the thread that started the child:
		// this one thread starts them all and stays.
		runtime.LockOSThread()
		for run := range f.start {
			run()
		}
	}()
	return f, nil
}

// portsTried makes every draw begin behind the one before.
var portsTried atomic.Int64

// freePorts returns n ports of loopback that nobody listened on a moment ago.
// They are below the range from which the kernel takes ports for outgoing
// connections, so that none of those takes them before their process does.
func freePorts(n int) ([]int, error) {
	var ports []int
	for try := 0; len(ports) < n; try++ {
		if try > 1000 {
			return nil, errors.New("no free ports on loopback between 12000 and 32000")
		}
		port := 12_000 + (os.Getpid()*97+int(portsTried.Add(1)))%20_000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		ports = append(ports, port)
	}
	return ports, nil
}

// coordinators starts n of them, knowing each other's addresses.
func (f *fleet) coordinators(n int) error {
	ports, err := freePorts(3 * n)
	if err != nil {
		return err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	var peers []string
	for i := range n {
		peers = append(peers, at(n+i))
	}
	for i := range n {
		id := fmt.Sprintf("n%d", i+1)
		p := &proc{name: id, http: at(i), args: []string{
			"serve", "--id", id, "--data-dir", filepath.Join(f.dir, id), "--log-format", "text",
			"--http-addr", at(i), "--peer-addr", peers[i], "--ops-addr", at(2*n + i), "--component-addr", "127.0.0.1:0",
			"--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(n),
		}}
		f.procs = append(f.procs, p)
		if err := f.run(p); err != nil {
			return err
		}
	}
	return nil
}

// worker starts one whose home is the given coordinator; the others are where
// it goes when that one dies.
func (f *fleet) worker(name, home string, slots int) error {
	addrs := []string{f.proc(home).http}
	for _, p := range f.procs {
		if p.http != "" && p.name != home {
			addrs = append(addrs, p.http)
		}
	}
	p := &proc{name: name, args: []string{
		"worker", "--addr", strings.Join(addrs, ","), "--name", name, "--slots", strconv.Itoa(slots),
	}}
	f.procs = append(f.procs, p)
	return f.run(p)
}

// run starts a process, again if it ran before.
func (f *fleet) run(p *proc) error {
	log, err := os.OpenFile(filepath.Join(f.dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(f.binary, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = demoEnv(os.Environ())
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	f.start <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait()
		close(done)
	}(p.cmd, p.done)
	return nil
}

// demoEnv leaves out settings of the user's own coordinator.
func demoEnv(environ []string) (env []string) {
	for _, e := range environ {
		if !strings.HasPrefix(e, "FOLKMOOT_") {
			env = append(env, e)
		}
	}
	return env
}

func (f *fleet) proc(name string) *proc {
	for _, p := range f.procs {
		if p.name == name {
			return p
		}
	}
	return nil
}

// addrs lists where the coordinators are asked.
func (f *fleet) addrs() (addrs []string) {
	for _, p := range f.procs {
		if p.http != "" {
			addrs = append(addrs, p.http)
		}
	}
	return addrs
}

// kill is kill -9, waited for.
func (p *proc) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// close ends every process, the polite way first, and removes the folder.
func (f *fleet) close() {
	for i := len(f.procs) - 1; i >= 0; i-- {
		if p := f.procs[i]; p.done != nil {
			p.cmd.Process.Signal(syscall.SIGTERM)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, p := range f.procs {
		if p.done == nil {
			continue
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			p.kill()
		}
	}
	close(f.start)
	os.RemoveAll(f.dir)
}

// dead names a process that ended by itself and the end of what it said.
func (f *fleet) dead() error {
	for _, p := range f.procs {
		select {
		case <-p.done:
			said, _ := os.ReadFile(filepath.Join(f.dir, p.name+".log"))
			if i := bytes.LastIndexByte(bytes.TrimSpace(said), '\n'); i > 0 && len(said) > 2000 {
				said = said[max(0, len(said)-2000):]
			}
			return errors.New(p.name + " has ended:\n" + string(said))
		default:
		}
	}
	return nil
}
