//go:build !linux

package peer

import "net"

// setUserTimeout does nothing where the system has no such option: pings and
// write deadlines end a dead connection later.
func setUserTimeout(*net.TCPConn) {}
