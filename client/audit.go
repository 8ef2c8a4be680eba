package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/folkmoot/folkmoot/wire"
)

// Audit reads up to limit lines of the audit trail of the coordinator that answers, behind number after, oldest first;
// limit 0 leaves the number to it.
func (c *Client) Audit(ctx context.Context, after uint64, limit int) (wire.Audit, Meta, error) {
	q := url.Values{}
	if after > 0 {
		q.Set("after", strconv.FormatUint(after, 10))
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out wire.Audit
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/audit", query: q}, &out)
	return out, meta, err
}

// AuditAnchors reads what the cluster was told of the audit trail of a coordinator, oldest first; "" is of the one that
// answers.
func (c *Client) AuditAnchors(ctx context.Context, coordinator string) (wire.AuditAnchors, Meta, error) {
	q := url.Values{}
	if coordinator != "" {
		q.Set("coordinator", coordinator)
	}
	var out wire.AuditAnchors
	meta, err := c.do(ctx, request{method: http.MethodGet, path: "/audit/anchors", query: q}, &out)
	return out, meta, err
}
