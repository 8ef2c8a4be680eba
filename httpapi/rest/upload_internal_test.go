package rest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// connWriter is an answer on a connection, as net/http has it.
type connWriter struct {
	http.ResponseWriter
	net.Conn
}

func (w connWriter) Write(p []byte) (int, error) { return w.Conn.Write(p) }

// An upload goes on for as long as bytes come and its context lasts, and leaves the connection alone behind that.
func TestUpload(t *testing.T) {
	begin := func(t *testing.T) (caller, conn net.Conn, u *upload, cancel context.CancelCauseFunc) {
		caller, conn = net.Pipe()
		t.Cleanup(func() { caller.Close(); conn.Close() })
		ctx, cancel := context.WithCancelCause(t.Context())
		u = newUpload(ctx, conn, connWriter{Conn: conn}, 10*time.Second)
		return caller, conn, u, cancel
	}
	test := func(name string, play func(*testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, play) })
	}
	test("as long as bytes come", func(t *testing.T) {
		caller, _, u, cancel := begin(t)
		defer cancel(nil)
		go func() {
			for range 10 {
				time.Sleep(9 * time.Second)
				_, _ = caller.Write([]byte{1})
			}
		}()
		began := time.Now()
		for range 10 {
			if _, err := u.Read(make([]byte, 1)); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		if _, err := u.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 100*time.Second {
			t.Errorf("without a byte it ended after %v with %v", time.Since(began), err)
		}
	})
	test("until its context ends", func(t *testing.T) {
		_, _, u, cancel := begin(t)
		gone := errors.New("the token was revoked")
		time.AfterFunc(time.Second, func() { cancel(gone) })
		began := time.Now()
		for range 2 {
			if _, err := u.Read(make([]byte, 1)); !errors.Is(err, gone) || time.Since(began) != time.Second {
				t.Errorf("it ended after %v with %v", time.Since(began), err)
			}
		}
	})
	test("what comes behind it", func(t *testing.T) {
		caller, conn, u, cancel := begin(t)
		go func() {
			_, _ = caller.Write([]byte{1})
			time.Sleep(time.Hour)
			_, _ = caller.Write([]byte{2})
		}()
		if _, err := u.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		cancel(nil)
		synctest.Wait()
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("the next request: %v", err)
		}
	})
}
