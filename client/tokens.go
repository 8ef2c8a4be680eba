package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/folkmoot/folkmoot/wire"
)

// CreateToken makes a token. The answer is the only one that has its secret. Asked again after an unknown outcome, within
// this call, it is the same token.
func (c *Client) CreateToken(ctx context.Context, in wire.NewToken) (wire.Token, Meta, error) {
	var out wire.Token
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/tokens", body: in, key: NewKey()}, &out)
	return out, meta, err
}

// Tokens lists the tokens of the cluster's state by id, one page a call.
func (c *Client) Tokens(ctx context.Context, p Page, r Read) (wire.Tokens, Meta, error) {
	var out wire.Tokens
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/tokens", query: r.into(p.into(url.Values{})), extra: r.Wait}, &out)
	return out, meta, err
}

// Token looks a token up by its id. Errors: not_found.
func (c *Client) Token(ctx context.Context, id string, r Read) (wire.Token, Meta, error) {
	var out wire.Token
	meta, err := c.do(ctx, request{method: http.MethodGet, path: tokenPath(id), query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

// RevokeToken revokes a token by its id; the sessions that signed in with it end. One that is revoked
// already is done. Errors: not_found.
func (c *Client) RevokeToken(ctx context.Context, id string) (Meta, error) {
	return c.do(ctx, request{method: http.MethodDelete, path: tokenPath(id)}, nil)
}

// TokenSelf tells what the client's own token is and may do.
func (c *Client) TokenSelf(ctx context.Context) (wire.Token, Meta, error) {
	var out wire.Token
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/tokens/self"}, &out)
	return out, meta, err
}

// CreateJoinToken makes a token by which the coordinator of an id gets one certificate. The answer is the only one that has
// it. Asked again after an unknown outcome, within this call, it is the same token.
func (c *Client) CreateJoinToken(ctx context.Context, in wire.NewJoinToken) (wire.JoinToken, Meta, error) {
	var out wire.JoinToken
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/tokens/join", body: in, key: NewKey()}, &out)
	return out, meta, err
}

// SignCertificate has a certificate signed for a coordinator; the client's token is a join token, which is used up. The
// caller sees to it, by Config.TLS, that the token is shown to nobody but its cluster. After an unknown outcome the
// token may be used up.
func (c *Client) SignCertificate(ctx context.Context, in wire.SignCertificate) (wire.SignedCertificate, Meta, error) {
	var out wire.SignedCertificate
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/ca/sign", body: in}, &out)
	return out, meta, err
}

func tokenPath(id string) string { return "/tokens/" + url.PathEscape(id) }
