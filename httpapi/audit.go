package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *API) auditRoutes() {
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/audit", Right: control.Admin, Scope: rest.ScopeNone, Params: []string{"after", "limit"}, Polled: true, Handle: a.audit})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/audit/anchors", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.With(rest.ReadParams, "coordinator"), Polled: true, Handle: a.auditAnchors})
}

// auditLines is how many lines are answered where the caller says nothing.
const auditLines = 100

func (a *API) audit(rq *rest.Request) error {
	var after uint64
	if given := rq.Params().Get("after"); rq.Params().Has("after") {
		n, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			return wire.Invalid("after", "after is the number of a line, not %q", rest.Clip(given))
		}
		after = n
	}
	limit, err := rq.Params().Int("limit", 1, wire.MaxAuditLines, auditLines)
	if err != nil {
		return err
	}
	page, err := a.control.Audit(rq.Context(), rq.Principal(), after, limit)
	if err != nil {
		return err
	}
	if page.Lines == nil {
		page.Lines = []json.RawMessage{}
	}
	return rq.JSON(http.StatusOK, page)
}

func (a *API) auditAnchors(rq *rest.Request) error {
	coordinator := rq.Params().Get("coordinator")
	return rest.Read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.AuditAnchors, control.Fresh, error) {
		return a.control.AuditAnchors(ctx, who, r, coordinator)
	})
}
