package httpapi

import (
	"errors"
	"net/http"
	"sync"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
)

// API is the server of /v1.
type API struct {
	*rest.Router
	control    Control
	sessions   func(http.ResponseWriter, *http.Request, control.Principal)
	eventCache eventCache
	contract   func() ([]byte, error) // made once
}

// New returns an API that answers once Serve is called.
func New(cfg Config) (*API, error) {
	if cfg.Control == nil {
		return nil, errors.New("httpapi: no Control")
	}
	cfg.Coordinator, cfg.Prefix = cfg.Control, "/v1"
	router, err := rest.NewRouter(cfg.Config)
	if err != nil {
		return nil, err
	}
	a := &API{Router: router, control: cfg.Control, sessions: cfg.Sessions, contract: sync.OnceValues(Contract)}
	a.memberRoutes()
	a.componentRoutes()
	a.messageRoutes()
	a.callRoutes()
	a.jobRoutes()
	a.statusRoutes()
	a.auditRoutes()
	a.debugRoutes()
	a.eventRoutes()
	a.sessionRoutes()
	a.tokenRoutes()
	a.snapshotRoutes()
	a.contractRoutes()
	return a, nil
}
