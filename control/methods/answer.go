package methods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/router"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

// workers answer messages to COORDINATOR. All messages of one sender go to the same
// worker, so that its requests are carried out in order.
const (
	workers      = 16
	workerQueue  = 16  // messages that wait for one worker; then the mailbox fills
	receiveBatch = 256 // messages of one Receive
)

// Run receives the messages to COORDINATOR and has them answered until ctx ends. It is called once.
func (c *Coordinator) Run(ctx context.Context) error {
	own := c.Name()
	if err := c.home.Mail().Attach(own, "", 0); err != nil {
		return fmt.Errorf("open the mailbox of %s: %w", own, err)
	}
	defer c.home.Mail().Detach("", "its coordinator stops")
	g, ctx := errgroup.WithContext(ctx)
	var queues [workers]chan wire.Message
	for i := range queues {
		queue := make(chan wire.Message, workerQueue)
		queues[i] = queue
		g.Go(func() error {
			for {
				select {
				case m := <-queue:
					c.reply(ctx, own, m)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	g.Go(func() error {
		var after uint64
		for {
			got, err := c.home.Mail().Receive(ctx, "", after, receiveBatch)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return fmt.Errorf("read the mailbox of %s: %w", own, err)
			}
			for _, m := range got {
				after = m.Seq
				if c.calls.resolve(m.Message) {
					continue
				}
				select {
				case queues[workerFor(m.Message.From)] <- m.Message:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	})
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return context.Canceled
}

// workerFor returns the number of a sender's worker.
func workerFor(sender string) int {
	h := fnv.New32a()
	h.Write([]byte(sender))
	return int(h.Sum32() % workers)
}

// reply carries out what one message asks for. What does not come from a
// session gets no answer: coordinators must not talk in circles.
func (c *Coordinator) reply(ctx context.Context, own string, m wire.Message) {
	s, ok := c.State().Registry.Session(m.From)
	if !ok {
		return
	}
	if len(m.Payload) == 0 {
		if s.Home == c.Self().ID {
			c.home.Alive(s) // an empty message is LECO's heartbeat
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, propose.Timeout)
	defer cancel()
	body := c.serve(ctx, s, m.Payload[0], nil)
	if body == nil {
		return
	}
	c.home.Post(wire.Message{
		To: m.From, From: own, Conversation: m.Conversation, Type: wire.TypeJSON, Payload: [][]byte{body},
	}, router.PostOptions{Write: router.WriteNow}, func(err error) {
		if err != nil {
			c.Log().Debug("an answer of COORDINATOR was not delivered", "to", m.From, "error", err)
		}
	})
}

// requestTimeout is how long Request waits without a deadline of its caller,
// and the longest that its request may travel to the component's mailbox.
const requestTimeout = 10 * time.Second

// request is Request after its checks; to is a full name.
func (c *Coordinator) request(ctx context.Context, to, method string, params json.RawMessage) (json.RawMessage, error) {
	conversation, err := c.NewConversation()
	if err != nil {
		return nil, err
	}
	question := jsonrpc.Request{ID: json.RawMessage("1"), Method: method}
	if len(params) > 0 {
		question.Params = params
	}
	body, err := question.Encode()
	if err != nil {
		return nil, wire.Invalid("params", "params: %v", err)
	}
	sending, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, limited := ctx.Deadline(); !limited {
		ctx = sending
	}
	answer, err := c.calls.open(conversation)
	if err != nil {
		return nil, err
	}
	defer c.calls.close(conversation)
	err = control.WriteError(c.home.Mail().Send(sending, wire.Message{
		To: to, From: c.Name(), Conversation: conversation,
		Type: wire.TypeJSON, Payload: [][]byte{body},
	}))
	if err != nil {
		return nil, err
	}
	select {
	case content := <-answer:
		return rpcAnswer(to, content)
	case <-ctx.Done():
		return nil, wire.Unknown(fmt.Errorf("%s has the request and did not answer: %w", to, context.Cause(ctx)))
	}
}

// rpcAnswer decodes the result of an answer.
func rpcAnswer(from string, content []byte) (json.RawMessage, error) {
	in, err := jsonrpc.ParseReply(content)
	if err != nil {
		return nil, wire.Refuse(wire.CodeConflict, "%s answered what is no JSON-RPC: %v", from, err)
	}
	switch {
	case in.Error == nil && in.Result == nil:
		return nil, wire.Refuse(wire.CodeConflict, "%s answered what is no JSON-RPC: there is neither a result nor an error", from)
	case in.Error == nil:
		return in.Result, nil
	case in.Error.Code == jsonrpc.CodeNoMethod:
		return nil, wire.Refuse(wire.CodeNotFound, "%s: %s", from, in.Error.Message)
	case in.Error.Code == jsonrpc.CodeInvalidParams:
		return nil, wire.Invalid("params", "%s: %s", from, in.Error.Message)
	}
	return nil, wire.Refuse(wire.CodeConflict, "%s: %s (%d)", from, in.Error.Message, in.Error.Code)
}
