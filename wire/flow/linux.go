//go:build linux

package flow

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// query asks the kernel; false: it does not say.
func query(raw syscall.RawConn) (s sample, ok bool) {
	var info *unix.TCPInfo
	var left int
	var err, lerr error
	if raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		left, lerr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	}) != nil || err != nil || lerr != nil {
		return s, false
	}
	return sample{
		acked:   info.Bytes_acked,
		unacked: uint64(left),
		resent:  info.Unacked > 0 && info.Retransmits > 0,
		lastAck: time.Duration(info.Last_ack_recv) * time.Millisecond,
	}, true
}

func setUnsentLimit(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { // it works without
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}
