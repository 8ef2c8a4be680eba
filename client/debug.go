package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"
)

// DebugBundle opens what one of the coordinators knows of itself, as one file (tar.gz), to be read to its end: an answer
// that breaks off ends with an error, never with io.EOF. With cpu above 0 it also looks for that long at what the
// processor does. Meta.Addr is who answers; a Client of one address asks that one alone. The caller closes it.
func (c *Client) DebugBundle(ctx context.Context, cpu time.Duration) (io.ReadCloser, Meta, error) {
	q := url.Values{}
	if cpu > 0 {
		q.Set("cpu", cpu.String())
	}
	r := request{method: http.MethodGet, path: "/debug/bundle", query: q, header: http.Header{"Accept": {"application/gzip"}}}
	s, err := c.open(ctx, r)
	if err != nil {
		return nil, Meta{}, err
	}
	return fileBody{s}, s.meta, nil
}
