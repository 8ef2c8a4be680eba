package zmtp_test

import (
	"bytes"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/pyenv"
	"github.com/folkmoot/folkmoot/gateway/zmtp"
)

// libzmq runs a script of a real ZeroMQ client; addr is in sys.argv[1].
func libzmq(t *testing.T, addr, script string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	python := pyenv.Python(t, pyenv.LECO...)
	cmd := exec.Command(python, "-c", "import sys, time, zmq\ns = zmq.Context().socket(zmq.DEALER)\ns.rcvtimeo = 10000\ns.connect('tcp://' + sys.argv[1])\n"+script, addr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// libzmq gets back what it sent: every size, many at once, in order.
func TestLibzmqIsEchoed(t *testing.T) {
	t.Parallel()
	s := serve(t, zmtp.Config{}, echo)
	cmd, out := libzmq(t, s.Addr(), `
for n in (0, 1, 255, 256, 257, 65536, 5_000_000):
    m = [b"", bytes(n), b"x" * n]
    s.send_multipart(m)
    assert s.recv_multipart() == m, n
for i in range(20):
    for j in range(500): s.send_multipart([b"%d" % i, b"%d" % j])
    for j in range(500): assert s.recv_multipart() == [b"%d" % i, b"%d" % j]
`)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A libzmq peer that goes, stops or is slow: the first is noticed at once, the
// second in about two seconds, the third is left alone.
func TestLibzmqLiveness(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	begun := make(chan *zmtp.Conn, 1)
	s := serve(t, zmtp.Config{}, func(c *zmtp.Conn) {
		m, err := c.Receive()
		begun <- c
		for err == nil && len(m) > 0 {
			m, err = c.Receive()
		}
		ended <- err
	})
	begin := func(script string) (*exec.Cmd, *zmtp.Conn) {
		cmd, _ := libzmq(t, s.Addr(), "s.send(b'hello')\n"+script)
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd, <-begun
	}
	within := func(what string, d time.Duration) {
		t.Helper()
		start := time.Now()
		select {
		case err := <-ended:
			t.Logf("%s: noticed after %v: %v", what, time.Since(start), err)
		case <-time.After(d):
			t.Errorf("%s: not noticed within %v", what, d)
		}
	}
	cmd, _ := begin("time.sleep(60)")
	_ = cmd.Process.Kill()
	within("killed", time.Second)

	cmd, _ = begin("time.sleep(60)")
	quiet := time.After(time.Second)
	select { // it answers PINGs while its program sleeps
	case err := <-ended:
		t.Fatalf("a sleeping program's connection ended: %v", err)
	case <-quiet:
	}
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	within("stopped", 4*time.Second)

	cmd, c := begin("time.sleep(4)\nwhile True: s.recv()")
	for { // more than libzmq holds for a program that does not read
		if err := c.Send(make([]byte, 1000)); errors.Is(err, zmtp.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.SendWait(t.Context(), []byte("it reads again")); err != nil {
		t.Errorf("a slow reader was given up: %v", err)
	}
	_ = cmd.Process.Kill()
	within("killed", time.Second)
}

// A subscriber that is slow to read, whatever its high-water mark, gets through
// our proxy all that it gets through libzmq's own.
func TestProxyLosesNothingThatLibzmqKeeps(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, pyenv.LECO...)
	p := zmtp.NewProxy(listen(t), listen(t), zmtp.Config{})
	t.Cleanup(p.Close)
	in, out := p.Addrs()
	cmd := exec.Command(python, "-c", `
import sys, threading, time, zmq
N, context = 800, zmq.Context()
front, back = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
theirs = [f"tcp://127.0.0.1:{s.bind_to_random_port('tcp://127.0.0.1')}" for s in (front, back)]
def proxy():
    try: zmq.proxy(front, back)
    except zmq.ZMQError: pass
threading.Thread(target=proxy, daemon=True).start()
got = {}
def read(who, mark, sub):
    first = sub.recv()
    ready.release()
    numbers = set()
    while len(numbers) < N:
        m = sub.recv()
        if m[:1] == b"?": continue
        numbers.add(m[:8])
        got[who, mark] = len(numbers)
        time.sleep(0.008)  # 6.4 s for all
ready, readers, publishers = threading.Semaphore(0), [], []
for who, (publish, subscribe) in {"theirs": theirs, "ours": ["tcp://" + a for a in sys.argv[1:]]}.items():
    pub = context.socket(zmq.PUB)
    pub.connect(publish)
    publishers.append(pub)
    for mark in (1, 10):
        sub = context.socket(zmq.SUB)
        sub.rcvhwm, sub.rcvtimeo = mark, 15000
        sub.connect(subscribe)
        sub.subscribe(b"")
        got[who, mark] = 0
        readers.append(threading.Thread(target=read, args=(who, mark, sub)))
        readers[-1].start()
waiting = 4
while waiting:
    for pub in publishers: pub.send(b"?")
    if ready.acquire(timeout=0.05): waiting -= 1
for i in range(N):
    for pub in publishers: pub.send(b"%08d" % i + b"x" * 500)
    if i > N // 2: time.sleep(0.008)  # what comes while half of all is unread is lost if the connection is given up
for r in readers: r.join()
print(got)
assert got["theirs", 1] == got["theirs", 10] == N, "libzmq's own proxy lost some"
assert got["ours", 1] == got["ours", 10] == N
`, in, out)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s; ours counts %v", err, text, p.Counts())
	}
}
