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

// CallOptions are how a Call is made; the zero value is a call without a session that is repeated only if it was
// certainly not tried.
type CallOptions struct {
	Secret     string        // of the session that calls; "" is none
	Timeout    time.Duration // that the coordinator grants the component; 0 is its default
	Repeatable bool          // asking twice does no harm: an unknown outcome is repeated
}

// Call calls a component's JSON-RPC method; to is its full name, or wire.Coordinator for the coordinator itself. params
// is encoded as JSON, and the result decoded into out unless it is nil.
func (c *Client) Call(ctx context.Context, to, method string, params, out any, o CallOptions) (Meta, error) {
	r := request{
		method: http.MethodPost, path: "/call/" + url.PathEscape(to) + "/" + url.PathEscape(method),
		query: url.Values{}, body: params, session: o.Secret, extra: o.Timeout,
	}
	if o.Timeout > 0 {
		r.query.Set("timeout", o.Timeout.String())
	}
	if o.Repeatable {
		r.repeat = harmless
	}
	return c.do(ctx, r, out)
}
