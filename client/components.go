package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/folkmoot/folkmoot/wire"
)

// Components selects rows of the directory of components; empty fields select all.
type Components struct {
	Namespace string
	Prefix    string            // of the full name
	Match     string            // regular expression that matches the whole full name
	Labels    map[string]string // all of them
	Filter    string
	Page
	Read
}

func (s Components) query() url.Values {
	q := s.Read.into(s.Page.into(url.Values{}))
	set(q, "namespace", s.Namespace)
	set(q, "prefix", s.Prefix)
	set(q, "match", s.Match)
	set(q, "filter", s.Filter)
	for k, v := range s.Labels {
		q.Add("label", k+"="+v)
	}
	return q
}

// Components lists signed-in components by full name, one page a call.
func (c *Client) Components(ctx context.Context, sel Components) (wire.Components, Meta, error) {
	var out wire.Components
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/components", query: sel.query(), extra: sel.Wait}, &out)
	return out, meta, err
}

// Component looks one component up.
func (c *Client) Component(ctx context.Context, full string, r Read) (wire.Component, Meta, error) {
	var out wire.Component
	meta, err := c.do(ctx, request{method: http.MethodGet, path: componentPath(full), query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

// SignIn signs a component in, or takes its name over when Session and Secret are given. key (16..128 printable bytes)
// makes a repeat the same sign-in; empty mints one. Nothing keeps the lease alive: a session of Dial does.
func (c *Client) SignIn(ctx context.Context, in wire.SignIn, key string) (wire.SignedIn, Meta, error) {
	if key == "" {
		key = NewKey()
	}
	var out wire.SignedIn
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/components", body: in, key: key}, &out)
	return out, meta, err
}

// Heartbeat lets the lease of a session run anew. unavailable means that its home is not reached.
func (c *Client) Heartbeat(ctx context.Context, full, secret string) (wire.Beat, Meta, error) {
	var out wire.Beat
	meta, err := c.do(ctx, request{
		method: http.MethodPut, path: componentPath(full) + "/heartbeat", session: secret,
		repeat: harmless,
	}, &out)
	return out, meta, err
}

// SignOut ends the session of secret.
func (c *Client) SignOut(ctx context.Context, full, secret string) (Meta, error) {
	if secret == "" { // without one it would be an operator's removal
		return Meta{}, wire.Invalid("secret", "sign out %s: the session's secret is missing", full)
	}
	return c.do(ctx, request{method: http.MethodDelete, path: componentPath(full), session: secret}, nil)
}

// RemoveComponent ends somebody else's session for good: it cannot be taken over any more.
func (c *Client) RemoveComponent(ctx context.Context, full, reason string) (Meta, error) {
	q := url.Values{}
	set(q, "reason", reason)
	return c.do(ctx, request{method: http.MethodDelete, path: componentPath(full), query: q}, nil)
}

// Namespaces is the address book: who presides over which namespace and who is in it.
func (c *Client) Namespaces(ctx context.Context, r Read) (map[string]wire.Namespace, Meta, error) {
	out := map[string]wire.Namespace{}
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/namespaces", query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

func componentPath(full string) string { return "/components/" + url.PathEscape(full) }
