package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// openSession opens a session that answers nothing by itself.
func (a *app) openSession(ctx context.Context, in wire.SignIn) (*client.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	return a.client.Dial(ctx, client.Component{SignIn: in, Inbox: true, Methods: map[string]client.Method{"pong": nil, "rpc.discover": nil}})
}

// signOut signs out, within a short time.
func (a *app) signOut(ctx context.Context, s *client.Session) {
	out, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	_ = s.Close(out) // else the lease does it
}

// send sends a message in the name of the session.
func send(ctx context.Context, s *client.Session, in wire.SendMessage) error {
	m := wire.Message{To: in.To, Payload: in.Payload}
	if len(in.Content) > 0 {
		m.Type, m.Payload = wire.TypeJSON, append([][]byte{in.Content}, in.Payload...)
	}
	id, err := uuid.Parse(in.ConversationID)
	if err != nil {
		return err
	}
	m.Conversation = id
	return s.Send(ctx, m)
}

// received is a message as REST shows it, the seq-th of its session.
func received(m *wire.Message, seq int) wire.Received {
	r := wire.Received{
		Seq: uint64(seq), To: m.To, From: m.From, ConversationID: uuid.UUID(m.Conversation).String(),
		Type: int(m.Type), Payload: m.Payload,
	}
	if len(m.Payload) > 0 && json.Valid(m.Payload[0]) {
		r.Content, r.Payload = m.Payload[0], m.Payload[1:]
	}
	return r
}
