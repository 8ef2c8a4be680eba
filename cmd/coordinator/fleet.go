package main

import (
	"bytes"
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
// file, all in one temporary folder. They and the folder end with this process,
// however it ends: the reaper sees to it, and on Linux the kernel as well.
type fleet struct {
	dir    string
	binary string
	procs  []*proc
	reaper *reaper
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

// newFleet makes the folder and starts its reaper.
func newFleet() (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", fleetPrefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	r, err := newReaper(self, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	f := &fleet{dir: dir, binary: self, reaper: r, start: make(chan func())}
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
			"--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(n), "--audit-dir", "",
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
	p.cmd.Env = append(demoEnv(os.Environ()), "TMPDIR="+f.dir) // a worker's parts have their folders there
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(p.cmd.SysProcAttr)
	started := make(chan error)
	f.start <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	f.reaper.watch(p.cmd.Process.Pid)
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait()
		f.reaper.forget(cmd.Process.Pid)
		close(done)
	}(p.cmd, p.done)
	return nil
}

// demoEnv leaves out settings of the user's own coordinator, and TMPDIR.
func demoEnv(environ []string) (env []string) {
	for _, e := range environ {
		if !strings.HasPrefix(e, "FOLKMOOT_") && !strings.HasPrefix(e, "TMPDIR=") {
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

// close ends every process, the polite way first and workers before those they
// report to, and removes the folder.
func (f *fleet) close() {
	f.end(func(p *proc) bool { return p.http == "" }, 4*time.Second)
	f.end(func(p *proc) bool { return p.http != "" }, 5*time.Second)
	close(f.start)
	if err := f.reaper.close(); err != nil {
		os.RemoveAll(f.dir) // it was ended itself
	}
}

// end ends those processes that are chosen, within limit.
func (f *fleet) end(chosen func(*proc) bool, limit time.Duration) {
	var ended []*proc
	for _, p := range f.procs {
		if p.done != nil && chosen(p) {
			p.cmd.Process.Signal(syscall.SIGTERM)
			ended = append(ended, p)
		}
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	for _, p := range ended {
		select {
		case <-p.done:
		case <-late.C:
			late.Reset(0) // nor are the others waited for
			p.kill()
		}
	}
}

// dead names a process that ended by itself and the end of what it said.
func (f *fleet) dead() error {
	for _, p := range f.procs {
		select {
		case <-p.done:
			output, _ := os.ReadFile(filepath.Join(f.dir, p.name+".log"))
			if i := bytes.LastIndexByte(bytes.TrimSpace(output), '\n'); i > 0 && len(output) > 2000 {
				output = output[max(0, len(output)-2000):]
			}
			return errors.New(p.name + " has ended:\n" + string(output))
		default:
		}
	}
	return nil
}
