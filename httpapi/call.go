package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) callRoutes() {
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/call/:full/:method", Right: control.MessagesSend, Scope: rest.ScopePath, Params: []string{"timeout"}, MaxBody: MaxMessageBody, Routine: true, Handle: a.call})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/call/:full/:method", Right: control.MessagesSend, Scope: rest.ScopePath, SideEffects: true, Handle: a.callByQuery})
}

// How long a call may take.
const (
	defaultCall = 10 * time.Second
	longestCall = 10 * time.Minute
)

// call carries out a JSON-RPC method; the body is its params, the answer its
// result.
func (a *API) call(rq *rest.Request) error {
	if err := rq.ReadBody(); err != nil {
		return err
	}
	if rq.Body() != nil {
		if err := rest.CheckValue(rq.Body()); err != nil {
			return err
		}
	}
	return a.callWith(rq, rq.Body())
}

// callByQuery takes the params from the query: ?x=1&name=laser is
// {"x":1,"name":"laser"}. What is JSON is passed on as JSON, the rest as text.
func (a *API) callByQuery(rq *rest.Request) error {
	if strings.HasPrefix(rq.Header("User-Agent"), "Mozilla/") && rq.Header("Sec-Fetch-Site") == "" {
		// A browser that does not say which page asks: it may be an image of any page.
		return wire.Refuse(wire.CodeForbidden, "a browser may not call by a plain link over an unprotected connection: use POST")
	}
	fields := map[string]json.RawMessage{}
	for name, text := range rq.Params().All() {
		if name == "timeout" {
			continue
		}
		value := json.RawMessage(text)
		if rest.CheckValue(value) != nil {
			quoted, err := json.Marshal(text)
			if err != nil {
				return err
			}
			value = quoted
		}
		fields[name] = value
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

func (a *API) callWith(rq *rest.Request, params json.RawMessage) error {
	to, err := rq.PathParam("full")
	if err != nil {
		return err
	}
	method, err := rq.PathParam("method")
	if err != nil {
		return err
	}
	timeout, err := rq.Params().Duration("timeout", longestCall, defaultCall)
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
	return rq.LongRunning(timeout, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if served {
			result, index, err := a.control.Call(ctx, rq.Principal(), method, params)
			if err != nil {
				return err
			}
			rq.WrittenAt(index)
			return rq.JSON(http.StatusOK, result)
		}
		result, err := a.control.Request(ctx, rq.Principal(), to, method, params)
		if err != nil {
			return err
		}
		if len(result) == 0 {
			result = json.RawMessage("null")
		}
		rq.Buffer().Write(result)
		rq.Buffer().WriteByte('\n')
		return rq.Send(http.StatusOK)
	})
}
