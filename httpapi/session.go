package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) sessionRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/session", Right: control.AnyRight, Scope: rest.ScopeSession, SideEffects: true, Handle: a.session})
}

// session hands the connection over to the door for native sessions.
func (a *API) session(rq *rest.Request) error {
	if a.sessions == nil {
		return wire.NotTried("this coordinator takes no sessions over WebSocket")
	}
	w, r := rq.HTTP()
	if !strings.EqualFold(rq.Header("Upgrade"), "websocket") || !strings.Contains(strings.ToLower(rq.Header("Connection")), "upgrade") {
		w.Header().Set("Upgrade", "websocket")
		return &rest.StatusError{Status: http.StatusUpgradeRequired, Err: wire.Refuse(wire.CodeInvalid, "this path takes a WebSocket, not a plain request")}
	}
	// Its connections outlive a request: the door ends them.
	return rq.LongRunning(0, func(context.Context) error {
		a.sessions(w, r, rq.Principal())
		return nil
	})
}
