package leco_test

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/folkmoot/folkmoot/gateway/pyenv"
)

// A component that asks for more than its own queue holds and is slow to read
// the answers keeps its name and gets all of them: its libzmq reads nothing
// meanwhile, so that it answers no PING.
func TestManyUnreadAnswersKeepTheName(t *testing.T) {
	t.Parallel()
	python := pyenv.Python(t, pyenv.LECO...)
	s := open(t, "N1")
	cmd := exec.Command(python, "-c", `
import json, sys, time, zmq
s = zmq.Context().socket(zmq.DEALER)
s.rcvtimeo = 10000
s.connect("tcp://" + sys.argv[1])
def ask(i, method):
    content = json.dumps({"id": i, "method": method, "jsonrpc": "2.0"}).encode()
    s.send_multipart([b"\0", b"COORDINATOR", b"N1.director" if i else b"director", b"%016d" % i + b"\0\0\0\1", content])
def answer(i):
    m = s.recv_multipart()
    content = json.loads(m[4])
    assert m[3][:16] == b"%016d" % i and "error" not in content, (i, content)
    return content["result"]
ask(0, "sign_in")
answer(0)
for i in range(1, 1201): ask(i, "pong")
time.sleep(5)
for i in range(1, 1201): answer(i)
ask(1201, "send_local_components")
assert answer(1201) == ["director"]
`, s.door.Addr())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s; the door counts %v", err, text, s.door.Counts())
	}
}
