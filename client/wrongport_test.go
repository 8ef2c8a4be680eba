package client_test

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// closingPort listens at a port where every connection is read from, answered with a text and closed.
func closingPort(t *testing.T, says string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				if _, err := conn.Read(make([]byte, 64<<10)); err == nil {
					io.WriteString(conn, says)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// Who dials a port of something else is told what is there, and that nothing was tried.
func TestWrongPortIsIdentified(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	secure.StartTLS()
	t.Cleanup(secure.Close)
	trust := &tls.Config{InsecureSkipVerify: true}
	for name, c := range map[string]struct {
		addr string
		tls  *tls.Config
		want string
		code wire.Code
	}{
		"HTTP":              {plain.Listener.Addr().String(), nil, "it speaks HTTP", ""}, // the time ends amid another attempt
		"HTTPS":             {secure.Listener.Addr().String(), nil, "does it want TLS?", wire.CodeUnknown},
		"TLS":               {closingPort(t, "\x15\x03\x01\x00\x02\x02\x46"), nil, "it speaks TLS, and this program does not", wire.CodeUnavailable},
		"TLS without alert": {closingPort(t, ""), nil, "does it want TLS?", wire.CodeUnknown},
		"LECO":              {closingPort(t, "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"), nil, "it speaks ZMTP", wire.CodeUnavailable},
		"HTTP by TLS":       {plain.Listener.Addr().String(), trust, "plain HTTP", wire.CodeUnavailable},
		"native by TLS":     {closingPort(t, ""), trust, "does it speak TLS at all?", wire.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := time.Second
			if name == "HTTP" {
				limit = 6 * time.Second // it waits for more: only after the time of a sign-in it is asked what it is
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			n, err := client.Dial(ctx, client.Component{Addrs: []string{c.addr}, TLS: c.tls, SignIn: wire.SignIn{Name: "laser"}})
			if err == nil {
				n.Close(context.Background())
				t.Fatal("signed in")
			}
			if c.code != "" && wire.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %s: %v, want %s and %q", wire.CodeOf(err), err, c.code, c.want)
			}
		})
	}
	rest, err := client.New(client.Config{Addrs: []string{closingPort(t, "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\r\n")}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	if _, _, err := rest.Leader(t.Context()); wire.CodeOf(err) != wire.CodeUnavailable || !strings.Contains(err.Error(), "is this the port of REST") {
		t.Errorf("REST at another port: got %v", err)
	}
}
