//go:build unix

package trywrite

import "syscall"

const supported = true

// write is one write(2) to a socket that does not block.
func write(fd uintptr, b []byte) int {
	for {
		n, err := syscall.Write(int(fd), b)
		if err != syscall.EINTR {
			return max(n, 0)
		}
	}
}
