package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"

	"github.com/folkmoot/folkmoot/wire"
)

// resultLine is a line of the results, or the error that ends them.
type resultLine struct {
	wire.PartResult
	Code wire.Code `json:"code"`
}

// Results yields the results of a job's final parts, each once: in the order of the parts, or with follow as they end,
// until the job has ended, at the next coordinator when one goes away.
func (c *Client) Results(ctx context.Context, id string, follow bool) iter.Seq2[wire.PartResult, error] {
	r := request{
		method: http.MethodGet, path: jobPath(id) + "/results", query: url.Values{},
		header: http.Header{"Accept": {"application/x-ndjson"}},
	}
	if follow {
		r.query.Set("follow", "1")
		r.query.Set("order", "done")
	}
	return func(yield func(wire.PartResult, error) bool) {
		seen := map[int]bool{}
		pause := newBackOff()
		for {
			s, err := c.open(ctx, r)
			if err != nil {
				yield(wire.PartResult{}, err)
				return
			}
			in := bufio.NewReaderSize(s, 64<<10)
			for {
				var line resultLine
				if line, err = readResult(r, s.meta, in); err != nil {
					break
				}
				if seen[line.Part] {
					continue // yielded before the stream broke
				}
				seen[line.Part] = true
				pause.Reset()
				if !yield(line.PartResult, nil) {
					s.Close()
					return
				}
			}
			s.Close()
			var refused *wire.Error
			switch {
			case errors.Is(err, io.EOF) && (!follow || c.final(ctx, id)):
				return
			case errors.As(err, &refused) && !retryable(err):
				yield(wire.PartResult{}, err)
				return
			}
			c.addrs.moveToBack(s.meta.Addr)
			if !sleep(ctx, pause.NextBackOff()) {
				yield(wire.PartResult{}, context.Cause(ctx))
				return
			}
		}
	}
}

func readResult(r request, m Meta, in *bufio.Reader) (resultLine, error) {
	for {
		b, err := readLine(in)
		if err != nil {
			return resultLine{}, err
		}
		if len(b) == 0 {
			continue // keeps the stream alive
		}
		var line resultLine
		if err := json.Unmarshal(b, &line); err != nil {
			return line, r.failed(m.Addr, wire.Invalid("", "result line is not the JSON expected: %v", err), err)
		}
		if line.Code != "" {
			return line, streamError(r, m, b)
		}
		return line, nil
	}
}

// final reports whether a job has ended; where that is not known it has not.
func (c *Client) final(ctx context.Context, id string) bool {
	j, _, err := c.Job(ctx, id, Read{})
	return err == nil && Final(j.State) || wire.CodeOf(err) == wire.CodeNotFound
}

// Final reports whether a job in this state stays in it.
func Final(state string) bool { return state == "done" || state == "failed" || state == "cancelled" }
