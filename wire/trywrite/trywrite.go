// Package trywrite writes to a socket without waiting, so that a goroutine that
// has just read something may answer itself instead of waking a writer.
package trywrite

import (
	"net"
	"syscall"
)

// Writer writes what the kernel takes at once. Between New and the end of the
// connection nobody may write to the connection in another way while Write
// runs, and no write deadline may be left behind that passes.
type Writer struct {
	raw   syscall.RawConn
	write func(fd uintptr) bool // made once: it reads b and sets n
	b     []byte
	n     int
}

// New returns a Writer for a connection, or nil if the connection is none that
// can be written to without waiting: TLS, a pipe, or not on this platform.
func New(conn net.Conn) *Writer {
	c, ok := conn.(syscall.Conn)
	if !ok || !supported {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	w := &Writer{raw: raw}
	w.write = func(fd uintptr) bool {
		w.n = write(fd, w.b)
		return true
	}
	return w
}

// Write writes as much of b as the kernel takes now and returns how much that
// was. What an error would be is learnt by writing the rest to the connection.
// A nil Writer takes nothing.
func (w *Writer) Write(b []byte) int {
	if w == nil || len(b) == 0 {
		return 0
	}
	w.b, w.n = b, 0
	_ = w.raw.Write(w.write) // then n is 0
	w.b = nil
	return w.n
}
