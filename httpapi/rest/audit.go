package rest

import (
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/audit"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// About says whom or what the request is about, for the audit trail, where the path does not say it. session is the id of
// the session that it is for; "" is not known.
func (rq *Request) About(target, session string) { rq.target, rq.session = target, session }

// audited reports whether a line of the trail is to say what came of a request with this code ("" is done): of every
// write, of what only an administrator may read, and of whatever was refused for want of a right.
func (route *Route) audited(code wire.Code) bool {
	switch {
	case forWantOfRight(code):
		return true
	case route.Routine:
		return false
	}
	return route.Method != http.MethodGet || route.Right == control.Admin
}

func forWantOfRight(code wire.Code) bool {
	return code == wire.CodeUnauthorized || code == wire.CodeForbidden
}

// record tells the trail what came of a request. err is what was answered.
func (rq *Request) record(err error) {
	if rq.router.cfg.Audit == nil || rq.router.cfg.AuditRefusals && err == nil {
		return
	}
	var code wire.Code
	hidden := control.HiddenNeed(err)
	if err != nil {
		_, refusal := refusalOf(err)
		code, err = refusal.Code, refusal
	}
	if hidden == "" && !rq.route.audited(code) {
		return
	}
	e := audit.Event{
		Door: audit.DoorHTTP, Who: rq.principal.Audited(), What: rq.route.Method + " " + rq.router.cfg.Prefix + rq.route.Path,
		Target: rq.target, RequestID: rq.w.Header().Get("X-Request-Id"), Polled: rq.route.Polled && err == nil,
	}
	if e.Who.Remote == "" { // nobody was authenticated
		e.Who = control.Credentials{Remote: rq.r.RemoteAddr, Certificate: certificate(rq.r)}.Audited()
	}
	if e.Target == "" {
		e.Target = rq.pathTarget()
	}
	if e.Who.Session == "" {
		e.Who.Session = rq.session
	}
	e = control.Audited(e, rq.writtenAt, err)
	if hidden != "" {
		e.Needs = hidden
	}
	rq.router.cfg.Audit(withoutPresented(e, rq.r))
}

// pathTarget is what the path names: the values of its parameters, as the caller meant them.
func (rq *Request) pathTarget() string {
	var values []string
	for _, name := range rq.echo.ParamNames() {
		v, err := rq.PathParam(name)
		if err != nil {
			v = "?"
		}
		values = append(values, v)
	}
	return strings.Join(values, "/")
}

// withoutPresented returns the event without the token and the session's secret that the request presents, which a
// caller may have put into the path as well: those of a token file look like anything.
func withoutPresented(e audit.Event, r *http.Request) audit.Event {
	token, _ := bearer(r.Header["Authorization"])
	for _, secret := range []string{token, first(r.Header["X-Session"])} {
		if secret == "" {
			continue
		}
		for _, field := range []*string{&e.Target, &e.RequestID} {
			if strings.Contains(*field, secret) {
				*field = ""
			}
		}
	}
	return e
}

// recordUnrouted tells the trail of a request that was refused before a handler had it, unless it is a read that lacks no
// right. The route is not always known, and the path is whatever the caller made up: it is not in the line.
func (rt *Router) recordUnrouted(r *http.Request, route *Route, requestID string, err error) {
	_, refusal := refusalOf(err)
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	if rt.cfg.Audit == nil || read && !forWantOfRight(refusal.Code) {
		return
	}
	what := methodLabel(r.Method) + " " + rt.cfg.Prefix + "/..."
	if route != nil {
		what = route.Method + " " + rt.cfg.Prefix + route.Path
	}
	from := control.Credentials{Remote: r.RemoteAddr, Certificate: certificate(r)}
	e := audit.Event{Door: audit.DoorHTTP, Who: from.Audited(), What: what, RequestID: requestID}
	rt.cfg.Audit(withoutPresented(control.Audited(e, 0, refusal), r))
}
