package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) callRoutes() {
	a.add(route{method: http.MethodPost, path: "/call/:full/:method", params: []string{"timeout"}, body: MaxMessageBody, handle: a.call})
	a.add(route{method: http.MethodGet, path: "/call/:full/:method", acts: true, params: nil, handle: a.callByQuery})
}

// Times of a call.
const (
	defaultCall = 10 * time.Second
	longestCall = 10 * time.Minute
)

// call carries out a JSON-RPC method; the body is its params, the answer its
// result.
func (a *API) call(rq *request) error {
	if err := rq.read(); err != nil {
		return err
	}
	if rq.body != nil {
		if err := bodyLimits(nil).Check(rq.body); err != nil {
			return err
		}
		if !json.Valid(rq.body) {
			return wire.Invalid("", "the body is not one JSON value")
		}
	}
	return a.callWith(rq, rq.body)
}

// callByQuery takes the params from the query: ?x=1&name=laser is
// {"x":1,"name":"laser"}. What reads as JSON is JSON, the rest is text.
func (a *API) callByQuery(rq *request) error {
	if strings.HasPrefix(rq.header("User-Agent"), "Mozilla/") && rq.header("Sec-Fetch-Site") == "" {
		// A browser that does not say which page asks: it may be any page's image.
		return wire.Refuse(wire.CodeForbidden, "a browser may not call by a plain link over an unprotected connection: use POST")
	}
	fields := map[string]json.RawMessage{}
	for _, p := range rq.params {
		if p.name == "timeout" {
			continue
		}
		value := json.RawMessage(p.value)
		if bodyLimits(nil).Check(value) != nil || !json.Valid(value) {
			text, err := json.Marshal(p.value)
			if err != nil {
				return err
			}
			value = text
		}
		fields[p.name] = value
	}
	if len(fields) == 0 {
		return a.callWith(rq, nil)
	}
	params, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return a.callWith(rq, params)
}

func (a *API) callWith(rq *request, params json.RawMessage) error {
	to, err := rq.arg("full")
	if err != nil {
		return err
	}
	method, err := rq.arg("method")
	if err != nil {
		return err
	}
	timeout, err := rq.params.duration("timeout", longestCall, defaultCall)
	if err != nil {
		return err
	}
	if strings.HasPrefix(to, "service:") {
		return wire.Refuse(wire.CodeNotFound, "this version has no service directory: call a component by its full name")
	}
	served, err := a.control.Serves(to)
	if err != nil {
		return err
	}
	return rq.long(timeout, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if served {
			result, index, err := a.control.Call(ctx, rq.who, method, params)
			if err != nil {
				return err
			}
			rq.wrote(index)
			return rq.json(http.StatusOK, result)
		}
		result, err := a.control.Request(ctx, rq.who, to, method, params)
		if err != nil {
			return err
		}
		if len(result) == 0 {
			result = json.RawMessage("null")
		}
		rq.out.Write(result)
		rq.out.WriteByte('\n')
		return rq.send(http.StatusOK)
	})
}
