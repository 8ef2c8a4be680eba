package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) sessionRoutes() {
	a.add(route{method: http.MethodGet, path: "/session", acts: true, handle: a.session})
}

// session hands the connection over to the door for native sessions.
func (a *API) session(rq *request) error {
	if a.cfg.Sessions == nil {
		return wire.NotTried("this coordinator takes no sessions over WebSocket")
	}
	if !strings.EqualFold(rq.header("Upgrade"), "websocket") || !strings.Contains(strings.ToLower(rq.header("Connection")), "upgrade") {
		rq.w.Header().Set("Upgrade", "websocket")
		return &doorError{http.StatusUpgradeRequired, wire.Refuse(wire.CodeInvalid, "this path takes a WebSocket, not a plain request")}
	}
	// Its connections outlive a request: the door ends them.
	return rq.long(0, func(context.Context) error {
		a.cfg.Sessions(rq.w, rq.r, rq.who)
		return nil
	})
}
