package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// defaultSendTimeout is what a coordinator grants a send that names no timeout.
const defaultSendTimeout = 5 * time.Second

// Send brings one message to a component and waits for its one outcome. The sender is the session of secret. unknown is
// not repeated unless key is given.
func (c *Client) Send(ctx context.Context, secret string, m wire.SendMessage, key string) (wire.Sent, Meta, error) {
	extra := time.Duration(m.Timeout)
	if extra == 0 {
		extra = defaultSendTimeout
	}
	var out wire.Sent
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/messages", body: m, session: secret, key: key, extra: extra}, &out)
	return out, meta, err
}

// Call asks a component's JSON-RPC method for its result; full is wire.Coordinator for the coordinator itself. params is
// written as JSON, out (or nil) is read from the result. repeatable says that asking twice does no harm, so that an
// unknown outcome is repeated.
func (c *Client) Call(ctx context.Context, secret, full, method string, params, out any, timeout time.Duration, repeatable bool) (Meta, error) {
	r := request{
		method: http.MethodPost, path: "/call/" + url.PathEscape(full) + "/" + url.PathEscape(method),
		query: url.Values{}, body: params, session: secret, extra: timeout,
	}
	if timeout > 0 {
		r.query.Set("timeout", timeout.String())
	}
	if repeatable {
		r.repeat = harmless
	}
	return c.do(ctx, r, out)
}
