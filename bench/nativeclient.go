package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// nativeClient signs components in and out on one connection, in turn: both
// are replicated writes.
type nativeClient struct {
	s  *session
	in bool
}

var nativeClients atomic.Uint64

func dialNative(ctx context.Context, s *server) (client, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		h := longLived(fmt.Sprintf("client%d", nativeClients.Add(1)))
		h.buffer = 64 << 10
		native, err := openSession(ctx, s.native, h)
		if err == nil {
			return &nativeClient{s: native, in: true}, nil
		}
		select { // an election, most likely
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (n *nativeClient) close() { n.s.close() }

// write signs the component of before out, if there is one, else this one in.
func (n *nativeClient) write(ctx context.Context, key, value string) error {
	if d, ok := ctx.Deadline(); ok {
		n.s.conn.SetDeadline(d)
	}
	var b []byte
	if n.in {
		b = appendAsk(b, []byte(`{"jsonrpc":"2.0","id":1,"method":"sign_out"}`))
	} else {
		b = appendSignIn(b, key, time.Hour, value)
	}
	if _, err := n.s.conn.Write(b); err != nil {
		return err
	}
	_, err := n.s.answer()
	// Also after a refusal: of what was unknown it finds out what happened.
	n.in = !n.in
	return err
}

func (n *nativeClient) read(context.Context, string, bool) error {
	return errors.New("native clients only write here")
}
