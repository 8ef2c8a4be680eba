package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// LogChunk is some output of one try of a part, as it came.
type LogChunk struct {
	Part    int    `json:"part"`
	Attempt int    `json:"attempt"`
	Offset  int64  `json:"offset"`        // bytes of this try's output before Data
	Data    []byte `json:"data"`          // stdout and stderr as they came
	Next    int64  `json:"next"`          // the Offset of what follows
	End     bool   `json:"end"`           // the try has ended and nothing follows
	Cut     bool   `json:"cut,omitempty"` // output from Offset to Next was dropped, since there was too much: Data is a mark in its place
}

// Logs yields the output of a job's parts, of one part if part is not negative. With follow it goes on until the job
// has ended. Output that is repeated after a broken stream is dropped.
func (c *Client) Logs(ctx context.Context, id string, part int, follow bool) iter.Seq2[LogChunk, error] {
	r := request{method: http.MethodGet, path: jobPath(id) + "/logs", query: url.Values{}}
	if part >= 0 {
		r.query.Set("part", strconv.Itoa(part))
	}
	if follow {
		r.query.Set("follow", "1")
	}
	return func(yield func(LogChunk, error) bool) {
		type try struct{ part, attempt int }
		yielded := map[try]int64{} // bytes, by try
		over := func() bool { return !follow || c.final(ctx, id) }
		for n, err := range c.follow(ctx, following{request: r, over: over}) {
			var chunk LogChunk
			if err == nil {
				if err = json.Unmarshal(n.data, &chunk); err != nil {
					err = fmt.Errorf("log of job %s is not the JSON expected: %w", id, err)
				}
			}
			if err != nil {
				yield(chunk, err)
				return
			}
			t := try{chunk.Part, chunk.Attempt}
			chunk.Next = max(chunk.Next, chunk.Offset) // an older coordinator does not send it
			if !chunk.Cut {
				chunk.Next = chunk.Offset + int64(len(chunk.Data))
			}
			if yielded[t] >= chunk.Next {
				chunk.Data, chunk.Offset, chunk.Next, chunk.Cut = nil, yielded[t], yielded[t], false
			} else if repeated := yielded[t] - chunk.Offset; repeated > 0 {
				if !chunk.Cut {
					chunk.Data = chunk.Data[repeated:]
				}
				chunk.Offset += repeated
			}
			if len(chunk.Data) == 0 && !chunk.End {
				continue
			}
			yielded[t] = chunk.Next
			if !yield(chunk, nil) {
				return
			}
		}
	}
}
