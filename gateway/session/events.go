package session

import (
	"context"
	"encoding/json"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/home"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// position is a place in the feed, and of which cluster; "" while that has no id.
type position struct {
	At      string `json:"at"`
	Cluster string `json:"cluster,omitempty"`
}

func positionOf(p control.Position) position {
	cluster := p.Cluster
	p.Cluster = ""
	return position{p.String(), cluster}
}

// subscribe starts a subscription to events behind its answer.
func (c *Conn) subscribe(_ context.Context, raw json.RawMessage) (any, error) {
	var in struct {
		Topics  []string `json:"topics"`
		After   string   `json:"after"`
		Cluster string   `json:"cluster"`
	}
	if err := jsonrpc.DecodeParams(raw, nil, &in); err != nil {
		return nil, err
	}
	live := c.live.Load()
	if live == nil {
		return nil, wire.Refuse(wire.CodeUnauthorized, "sign in first")
	}
	if len(in.Topics) == 0 {
		in.Topics = []string{wire.TopicComponent}
	}
	var after *control.Position
	if in.After != "" {
		p, err := control.ParsePosition("after", in.After)
		if err != nil {
			return nil, err
		}
		if in.Cluster != "" {
			p.Cluster = in.Cluster
		}
		after = &p
	}
	cursor, err := live.Events(in.Topics, after)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancelEvents != nil {
		c.cancelEvents()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	c.cancelEvents = cancel
	c.startEvents = func(conversation [16]byte) { c.sendEvents(ctx, live, cursor, conversation) }
	return positionOf(cursor.At()), nil
}

func (c *Conn) unsubscribe(context.Context, json.RawMessage) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancelEvents != nil {
		c.cancelEvents()
	}
	c.cancelEvents, c.startEvents = nil, nil
	return nil, nil
}

// startSubscription starts the subscription whose answer was just written.
func (c *Conn) startSubscription(conversation [16]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begin := c.startEvents; begin != nil {
		c.startEvents = nil
		c.spawn(func() { begin(conversation) })
	}
}

// sendEvents writes events until the subscription or the connection ends. A client
// that reads slowly blocks it, and falls behind the feed.
func (c *Conn) sendEvents(ctx context.Context, live *home.Session, cursor *control.Cursor, conversation [16]byte) {
	send := func(method string, params any) bool {
		content, err := jsonrpc.EncodeEvent(method, params)
		if err != nil {
			c.hub.log.Error("an event has no JSON", "error", err)
			return true
		}
		return ctx.Err() == nil && c.send(&wire.Message{To: live.FullName(), From: live.Coordinator(), Conversation: conversation, Type: wire.TypeJSON, Payload: [][]byte{content}})
	}
	for {
		events, lagged, err := cursor.Next(ctx)
		switch {
		case err != nil:
			return
		case lagged:
			if !send("lagged", positionOf(cursor.At())) {
				return
			}
		}
		for i := range events {
			if !send("event", &events[i]) {
				return
			}
		}
	}
}
