package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/folkmoot/folkmoot/wire"
)

// Jobs selects jobs; empty fields select all.
type Jobs struct {
	State     string
	Group     string
	Namespace string // which the token must be allowed to read; without one the list has all that it may read
	Filter    string
	Page
	Read
}

// Submit hands a job in. Without an id one is minted here, so that a repeat after an unknown outcome is the same job.
func (c *Client) Submit(ctx context.Context, in wire.SubmitJob) (wire.Job, Meta, error) {
	key := ""
	if in.ID == "" {
		key = NewKey()
	}
	var out wire.Job
	meta, err := c.do(ctx, request{method: http.MethodPost, path: "/jobs", body: in, key: key, repeat: harmless}, &out)
	return out, meta, err
}

// Job looks one job up, with its script and arguments.
func (c *Client) Job(ctx context.Context, id string, r Read) (wire.Job, Meta, error) {
	var out wire.Job
	meta, err := c.do(ctx, request{method: http.MethodGet, path: jobPath(id), query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

// Jobs lists jobs, one page a call.
func (c *Client) Jobs(ctx context.Context, sel Jobs) (wire.Jobs, Meta, error) {
	q := sel.Read.into(sel.Page.into(url.Values{}))
	set(q, "state", sel.State)
	set(q, "group", sel.Group)
	set(q, "namespace", sel.Namespace)
	set(q, "filter", sel.Filter)
	var out wire.Jobs
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/jobs", query: q, extra: sel.Wait}, &out)
	return out, meta, err
}

// Parts lists the parts of a job in order, one page a call; After is a part's number.
func (c *Client) Parts(ctx context.Context, id string, p Page, r Read) (wire.Parts, Meta, error) {
	return c.PartsBy(ctx, id, "", p, r)
}

// PartsBy is Parts, only those that a filter chooses: terms like state == failed, joined by and, over state, attempt,
// worker and home.
func (c *Client) PartsBy(ctx context.Context, id, filter string, p Page, r Read) (wire.Parts, Meta, error) {
	q := r.into(p.into(url.Values{}))
	set(q, "filter", filter)
	var out wire.Parts
	meta, err := c.do(ctx, request{method: http.MethodGet, path: jobPath(id) + "/parts", query: q, extra: r.Wait}, &out)
	return out, meta, err
}

// CancelJob stops a job; its parts are dropped by their workers.
func (c *Client) CancelJob(ctx context.Context, id, reason string) (wire.Job, Meta, error) {
	q := url.Values{}
	set(q, "reason", reason)
	var out wire.Job
	meta, err := c.do(ctx, request{method: http.MethodDelete, path: jobPath(id), query: q, repeat: harmless}, &out)
	return out, meta, err
}

// ForgetJob removes a job that has ended, with its results and logs. After an unknown outcome it is done when the job
// is not found.
func (c *Client) ForgetJob(ctx context.Context, id string) (wire.Job, Meta, error) {
	var out wire.Job
	meta, err := c.do(ctx, request{method: http.MethodDelete, path: jobPath(id), query: url.Values{"forget": {"1"}}}, &out)
	return out, meta, err
}

// Workers lists who runs parts and how busy they are.
func (c *Client) Workers(ctx context.Context, r Read) (wire.Workers, Meta, error) {
	var out wire.Workers
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/workers", query: r.into(url.Values{}), extra: r.Wait}, &out)
	return out, meta, err
}

func jobPath(id string) string { return "/jobs/" + url.PathEscape(id) }
