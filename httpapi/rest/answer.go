package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/folkmoot/folkmoot/control"
)

// Buffer is the answer while it is made: Send, or Flush of a stream, writes it.
func (rq *Request) Buffer() *bytes.Buffer { return &rq.out }

// JSON answers v.
func (rq *Request) JSON(status int, v any) error {
	enc := json.NewEncoder(&rq.out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		rq.out.Reset()
		return err
	}
	return rq.Send(status)
}

// Send answers what is in the buffer, as JSON.
func (rq *Request) Send(status int) error {
	h := rq.w.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = noStore
	rq.ensureFreshness()
	if rq.out.Len() > 2000 { // net/http itself counts smaller ones
		h["Content-Length"] = []string{strconv.Itoa(rq.out.Len())}
	}
	rq.w.WriteHeader(status)
	_, _ = rq.w.Write(rq.out.Bytes()) // the caller is gone: there is nobody to report it to
	return nil
}

// writeError answers err, unless an answer has begun.
func (rq *Request) writeError(err error) {
	if rq.w.Committed {
		return
	}
	if rq.r.ContentLength != 0 && !rq.bodyRead {
		Unread(rq.w, rq.r)
	}
	rq.ensureFreshness()
	WriteProblem(rq.w, err)
}

// Read answers a read that takes nothing but how fresh it must be.
func Read[T any](rq *Request, read func(context.Context, control.Principal, control.Read) (T, control.Fresh, error)) error {
	r, err := rq.params.Read()
	if err != nil {
		return err
	}
	return rq.Blocking(r.Wait, func(ctx context.Context) error {
		v, fresh, err := read(ctx, rq.principal, r)
		if rq.FreshFrom(fresh, err) != nil {
			return err
		}
		return rq.JSON(http.StatusOK, v)
	})
}
