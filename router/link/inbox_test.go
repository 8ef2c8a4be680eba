package link_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/router/link"
)

// An inbox answers pings, hands on what is for its owner, and says bye last.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dial(t, time.Second)
		defer d.stop()
		var i item
		d.send(&i, []byte("x"))
		d.open(t)
		in := link.NewInbox(d.accepted, "n1")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			in.WriteLoop(ctx)
		}()
		kind, body, err := in.Next()
		if err != nil || kind != link.KindData {
			t.Fatalf("frame of kind %d, %v, want the message", kind, err)
		}
		id, _ := parse(t, body)
		in.Mu.Lock()
		in.AppendOutcome(id, link.Accepted)
		in.Mu.Unlock()
		if err := in.Flush(); err != nil {
			t.Fatal(err)
		}
		var version byte
		batch, err := d.Next(d.conn, func(v byte) { version = v })
		if err != nil || !bytes.Equal(batch, outcome(id, link.Accepted)) || version != link.Version {
			t.Fatalf("outcomes %x, %v, after a pong of version %d", batch, err, version)
		}
		cancel()
		if _, err = d.Next(d.conn, func(byte) {}); err == nil || !strings.Contains(err.Error(), "bye") {
			t.Errorf("the last frame: %v, want a bye", err)
		}
		<-ended
	})
}

// A dialler that reads no outcomes is given up at a bound.
func TestInboxIsBounded(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	conn, stop := link.NewConn(t.Context(), b, time.Second)
	defer stop()
	defer conn.Close()
	in := link.NewInbox(conn, "n1")
	for n := 0; ; n++ {
		in.Mu.Lock()
		for id := range uint32(1000) {
			in.AppendOutcome(id, link.Accepted)
		}
		in.Mu.Unlock()
		err := in.Flush()
		var p link.ProtocolError
		if errors.As(err, &p) {
			return
		}
		if err != nil || n > 2000 {
			t.Fatalf("after %d outcomes that nobody reads: %v", n*1000, err)
		}
	}
}

// So is one that sends pings and reads no pongs.
func TestPongsAreBounded(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	conn, stop := link.NewConn(t.Context(), b, time.Second)
	defer stop()
	defer conn.Close()
	in := link.NewInbox(conn, "n1")
	pong := make([]byte, 1000)
	for n := range 10_000 {
		err := in.Enqueue(pong)
		var p link.ProtocolError
		if errors.As(err, &p) && n > 1000 {
			return
		}
		if err != nil {
			t.Fatalf("after %d pongs: %v", n, err)
		}
	}
	t.Error("10 MB of pongs wait for one that does not read")
}
