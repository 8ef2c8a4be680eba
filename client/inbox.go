package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Inbox yields the messages of a session as they come. It resumes after a broken stream without a gap while the session
// stays at its home, and ends by ctx or a refusal, with an error. What was yielded counts as acknowledged once the
// stream asks for more. It does not keep the lease of the session: a session of Dial does, and receives messages, too.
func (c *Client) Inbox(ctx context.Context, full, secret string) iter.Seq2[wire.Received, error] {
	f := following{request: request{method: http.MethodGet, path: componentPath(full) + "/messages", session: secret}}
	return func(yield func(wire.Received, error) bool) {
		for n, err := range c.follow(ctx, f) {
			var m wire.Received
			if err == nil {
				if n.name != "" && n.name != "message" {
					continue
				}
				if err = json.Unmarshal(n.data, &m); err != nil {
					err = fmt.Errorf("message %s in the inbox of %s is not the JSON expected: %w", n.id, full, err)
				}
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Poll is the inbox without a stream: messages numbered above after, which acknowledges those up to it. It waits up to
// wait for the first one.
func (c *Client) Poll(ctx context.Context, full, secret string, after uint64, wait time.Duration) (wire.Inbox, Meta, error) {
	q := url.Values{}
	if after > 0 {
		q.Set("after", strconv.FormatUint(after, 10))
	}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	var out wire.Inbox
	meta, err := c.do(ctx, request{method: http.MethodGet, path: componentPath(full) + "/messages", query: q, session: secret, extra: wait}, &out)
	return out, meta, err
}
