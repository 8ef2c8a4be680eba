//go:build linux

package flow

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// look asks the kernel; false: it does not say.
func look(raw syscall.RawConn) (s sample, ok bool) {
	if raw == nil {
		return s, false
	}
	var info *unix.TCPInfo
	var err error
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return s, false
	}
	return sample{
		acked:   info.Bytes_acked,
		waiting: info.Unacked > 0 || info.Notsent_bytes > 0,
		resent:  info.Unacked > 0 && info.Retransmits > 0,
		heard:   time.Duration(info.Last_ack_recv) * time.Millisecond,
	}, true
}
