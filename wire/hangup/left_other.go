//go:build !linux

package hangup

import "net"

// left is not known on this system.
func left(*net.TCPConn) bool { return false }
