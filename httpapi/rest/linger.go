package rest

import (
	"io"
	"net/http"
	"time"
)

// How much is read of a body that was refused, so that the answer arrives.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
)

// linger makes sure that a caller who asked for the connection to be closed
// gets its answer although its body was not read: net/http would close at once,
// and closing a socket with unread bytes discards the answer. Where a body goes
// on beyond a limit, net/http waits half a second before it closes, which a
// caller on a busy machine may need for writing alone: what it still sends is
// read for a while first.
func linger(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	if control.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, lingerBytes)
	}
	_, _ = http.MaxBytesReader(w, r.Body, 0).Read(make([]byte, 1))
}
