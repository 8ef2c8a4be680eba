package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	sdk "github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// openNative signs a component in at one server with the product's own client.
func openNative(ctx context.Context, s *server, name string, more func(*sdk.Component)) (*sdk.Session, error) {
	cfg := sdk.Component{Addrs: []string{s.native}, TLS: s.asks.tls, Token: s.asks.token, SignIn: wire.SignIn{Name: name, Lease: wire.Duration(time.Hour)}}
	if more != nil {
		more(&cfg)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return sdk.Dial(ctx, cfg)
}

func closeNative(list ...*sdk.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, n := range list {
		_ = n.Close(ctx)
	}
}

// sdkPair sends and receives with the product's own client; every message asks
// for its outcome.
type sdkPair struct {
	out, in *sdk.Session
	size    int
	to      string
	told    struct{ delivered, failed atomic.Int64 }
	last    atomic.Pointer[error]
	done    func(error)
}

func openSDK(ctx context.Context, c *cluster, name string, size int, t *tally) (sender, error) {
	p := &sdkPair{size: size}
	var err error
	if p.in, err = openNative(ctx, c.servers[1], name+"in", func(c *sdk.Component) { c.Inbox = true }); err != nil {
		return nil, err
	}
	if p.out, err = openNative(ctx, c.servers[0], name+"out", nil); err != nil {
		closeNative(p.in)
		return nil, err
	}
	p.to = p.in.FullName()
	p.done = func(err error) {
		if err == nil {
			p.told.delivered.Add(1)
			return
		}
		p.last.Store(&err)
		p.told.failed.Add(1)
	}
	go func() { // until the session is closed
		for m := range p.in.Messages() {
			t.arrived(binary.BigEndian.Uint64(m.Payload[0]))
		}
	}()
	return p, nil
}

func (p *sdkPair) send(ctx context.Context, seq uint64) error {
	payload := make([]byte, p.size) // the client's until its outcome
	binary.BigEndian.PutUint64(payload, seq)
	return p.out.Post(ctx, wire.Message{To: p.to, Type: 200, Payload: [][]byte{payload}}, p.done)
}

func (p *sdkPair) flush() error { return nil }

func (p *sdkPair) outcomes() outcomes {
	o := outcomes{delivered: p.told.delivered.Load(), failed: p.told.failed.Load()}
	if e := p.last.Load(); e != nil {
		o.last = *e
	}
	return o
}

func (p *sdkPair) close() { closeNative(p.in, p.out) }

// askSDK calls a method of a component at the second coordinator from one at
// the first. The request's content has as many bytes as the payload.
func askSDK(ctx context.Context, c *cluster, name string, payload []byte) (asker, error) {
	const around = len(`{"id":1,"method":"echo","params":[""],"jsonrpc":"2.0"}`)
	if len(payload) < around {
		return asker{}, fmt.Errorf("a request has at least %d bytes", around)
	}
	params := []string{noise[:len(payload)-around]}
	echo := func(_ context.Context, r *sdk.Request) (any, error) { return r.Params, nil }
	in, err := openNative(ctx, c.servers[1], name+"in", func(c *sdk.Component) { c.Methods = map[string]sdk.Method{"echo": echo} })
	if err != nil {
		return asker{}, err
	}
	out, err := openNative(ctx, c.servers[0], name+"out", nil)
	if err != nil {
		closeNative(in)
		return asker{}, err
	}
	to := in.FullName()
	return asker{
		close: func() { closeNative(in, out) },
		ask: func(ctx context.Context, _ int) error {
			var result json.RawMessage
			return out.Call(ctx, to, "echo", params, &result)
		},
	}, nil
}
