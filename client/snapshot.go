package client

import (
	"context"
	"io"
	"net/http"
)

// Snapshot opens the whole state of the cluster as one file, at least as new as the call, to be read to its end: an answer
// that breaks off ends with an error, never with io.EOF. The caller closes it.
func (c *Client) Snapshot(ctx context.Context) (io.ReadCloser, Meta, error) {
	r := request{method: http.MethodGet, path: "/snapshot", header: http.Header{"Accept": {"application/gzip"}}}
	s, err := c.open(ctx, r)
	if err != nil {
		return nil, Meta{}, err
	}
	return snapshotBody{s}, s.meta, nil
}

// snapshotBody is a stream as an io.ReadCloser.
type snapshotBody struct{ *stream }

func (s snapshotBody) Close() error {
	s.stream.Close()
	return nil
}
