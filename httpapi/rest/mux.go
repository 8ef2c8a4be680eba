package rest

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// Mux answers paths by plain handlers. What it has no handler for is answered as
// a problem.
type Mux struct{ echo *echo.Echo }

// NewMux returns a Mux without handlers.
func NewMux() *Mux {
	return &Mux{newEcho(func(err error, c echo.Context) {
		if !c.Response().Committed {
			WriteProblem(c.Response(), err)
		}
	})}
}

// Handle has h answer a path, or with * at its end all that begin so, to the
// given methods. It must not be called once requests come in.
func (m *Mux) Handle(path string, h http.Handler, methods ...string) {
	m.echo.Match(methods, path, echo.WrapHandler(h))
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.echo.ServeHTTP(w, r) }

// newEcho returns a router that trusts no forwarded address and whose own
// refusals (no such path, no such method) go to onError.
func newEcho(onError echo.HTTPErrorHandler) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = onError
	return e
}
