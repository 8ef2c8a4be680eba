package node

import (
	"context"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/usecases"
	"github.com/folkmoot/folkmoot/httpapi"
)

// restControl is the use cases as REST needs them.
type restControl struct{ *usecases.UseCases }

var _ httpapi.Control = restControl{}

// Inbox implements httpapi.Control.
func (r restControl) Inbox(ctx context.Context, who control.Principal, full string) (httpapi.Inbox, error) {
	b, err := r.UseCases.Inbox(ctx, who, full)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Events implements httpapi.Control.
func (r restControl) Events(who control.Principal, topics []string, after *control.Position) (httpapi.Cursor, error) {
	c, err := r.UseCases.Events(who, topics, after)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Now implements httpapi.Control.
func (r restControl) Now() control.Fresh {
	_, fresh, err := r.View(context.Background(), control.Read{Consistency: "stale"})
	if err != nil { // too early in this coordinator's life
		return control.Fresh{Leader: r.Leads(), Consistency: "stale", StaleMs: -1}
	}
	return fresh
}
