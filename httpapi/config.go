package httpapi

import (
	"net/http"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

// Limits of bodies, in bytes. They are checked before a body is read.
const (
	MaxBody        = 1 << 20  // any call but those below
	MaxMessageBody = 16 << 20 // POST /v1/messages and /v1/call
)

// DefaultConns is how many connections the port of an API has at most.
const DefaultConns = rest.DefaultConns

// Config is what an API server is made of. Control is needed, the rest has
// defaults.
type Config struct {
	// Config is that of the server; New sets its Coordinator and Prefix.
	rest.Config
	Control Control
	// Sessions, if given, answers GET /v1/session, the WebSocket for native
	// sessions, for a principal that may sign in. It closes its connections itself.
	Sessions func(w http.ResponseWriter, r *http.Request, who control.Principal)
}
