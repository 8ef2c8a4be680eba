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

// subscribe begins to tell news once its answer is on the way.
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
	if c.news != nil {
		c.news()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	c.news = cancel
	c.cursor = func(conversation [16]byte) { c.tell(ctx, live, cursor, conversation) }
	return positionOf(cursor.At()), nil
}

func (c *Conn) unsubscribe(context.Context, json.RawMessage) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.news != nil {
		c.news()
	}
	c.news, c.cursor = nil, nil
	return nil, nil
}

// follow starts the subscription that the answer just given was about.
func (c *Conn) follow(conversation [16]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begin := c.cursor; begin != nil {
		c.cursor = nil
		c.start(func() { begin(conversation) })
	}
}

// tell writes news until the subscription or the connection ends. One who
// reads slowly makes it wait, and falls behind the feed.
func (c *Conn) tell(ctx context.Context, live *home.Session, cursor *control.Cursor, conversation [16]byte) {
	say := func(method string, params any) bool {
		content, err := jsonrpc.EncodeEvent(method, params)
		if err != nil {
			c.hub.log.Error("an event has no JSON", "error", err)
			return true
		}
		return ctx.Err() == nil && c.say(&wire.Message{To: live.FullName(), From: live.Coordinator(), Conversation: conversation, Type: wire.TypeJSON, Payload: [][]byte{content}})
	}
	for {
		events, lagged, err := cursor.Next(ctx)
		switch {
		case err != nil:
			return
		case lagged:
			if !say("lagged", positionOf(cursor.At())) {
				return
			}
		}
		for i := range events {
			if !say("event", &events[i]) {
				return
			}
		}
	}
}
