package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Snapshot opens the whole state of the cluster as one file, at least as new as the call, to be read to its end: an answer
// that breaks off ends with an error, never with io.EOF. The caller closes it.
func (c *Client) Snapshot(ctx context.Context) (io.ReadCloser, Meta, error) {
	r := request{method: http.MethodGet, path: "/snapshot", header: http.Header{"Accept": {"application/gzip"}}}
	s, err := c.open(ctx, r)
	if err != nil {
		return nil, Meta{}, err
	}
	return fileBody{s}, s.meta, nil
}

// fileBody is a stream that is one file.
type fileBody struct{ *stream }

func (s fileBody) Close() error {
	s.stream.Close()
	return nil
}

// restoreTime is how long a restore may take beyond an ordinary call.
const restoreTime = time.Hour

// Restore puts the state of a snapshot, given as the bytes of its file, in place of the cluster's, all of it or nothing.
// cluster is the id of the cluster that is asked; foreign says that the snapshot may be of another. A repeat within the
// call is the same restore; after an unknown outcome look before you call again. Errors: invalid (no whole snapshot),
// too_large, conflict (another cluster or level).
func (c *Client) Restore(ctx context.Context, file []byte, cluster string, foreign bool) (wire.Restored, Meta, error) {
	q := url.Values{"cluster": {cluster}}
	if foreign {
		q.Set("foreign", "true")
	}
	var out wire.Restored
	meta, err := c.do(ctx, request{method: http.MethodPut, path: "/snapshot", query: q, file: file, key: NewKey(), extra: restoreTime}, &out)
	return out, meta, err
}
