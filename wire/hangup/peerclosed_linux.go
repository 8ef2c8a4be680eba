package hangup

import (
	"net"

	"golang.org/x/sys/unix"
)

func peerClosed(conn *net.TCPConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true // closed by this side
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		ask := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(ask, 0)
		closed = err == nil && n > 0
	})
	return err != nil || closed
}
