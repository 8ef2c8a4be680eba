package client

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/hangup"
)

// identify says what answers at an address that is not what was looked for, by the first bytes that came; "" if they
// are not recognised.
func identify(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("HTTP/")):
		return "it speaks HTTP: is this the port of REST? Native sessions have another, --component-addr of the coordinator"
	case len(b) >= 2 && (b[0] == 0x15 || b[0] == 0x16) && b[1] == 3:
		return "it speaks TLS, and this program does not: give it the CA"
	case len(b) > 0 && b[0] == 0xff:
		return "it speaks ZMTP: is this the port of LECO? Native sessions have another, --component-addr of the coordinator"
	}
	return ""
}

// probe asks what says nothing to a preamble for a word, and closes the connection soon after: a server of HTTP waits
// for the end of a line. A coordinator that is only slow loses nothing, since the time of the sign-in is over.
func probe(conn net.Conn) {
	time.AfterFunc(500*time.Millisecond, func() { hangup.Abort(conn) })
	_, _ = io.WriteString(conn, "\r\n\r\n")
}

// noPreamble is the outcome of a sign-in that was not answered by a preamble: b is what came of it. Who speaks
// something else has certainly not tried.
func noPreamble(b []byte, err error, secure bool) error {
	if what := identify(b); what != "" {
		return wire.NotTried("%s", what)
	}
	if errors.Is(err, io.EOF) && len(b) == 0 && !secure { // a port of TLS closes so
		err = fmt.Errorf("%w (does it want TLS?)", err)
	}
	return wire.Unknown(fmt.Errorf("no preamble: %w", err))
}

// notTLS explains a handshake that failed since the other side does not speak TLS.
func notTLS(err error) error {
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		what := "no TLS: leave out the CA, or ask another port"
		if bytes.HasPrefix(header.RecordHeader[:], []byte("HTTP/")) {
			what = "plain HTTP: is this the port of REST? Native sessions have another, --component-addr of the coordinator"
		}
		return fmt.Errorf("%w: it speaks %s", err, what)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w (does it speak TLS at all?)", err)
	}
	return err
}
