package httpapi

import (
	"context"
	"net/http"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *API) tokenRoutes() {
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/tokens", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.createToken})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/tokens", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.ListParams, Handle: a.tokens})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/tokens/self", Right: control.AnyRight, Scope: rest.ScopeNone, Params: rest.NoParams, Handle: a.tokenSelf})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/tokens/join", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.NoParams, MaxBody: MaxBody, Handle: a.createJoinToken})
	a.Handle(rest.Route{Method: http.MethodPost, Path: "/ca/sign", Right: control.JoinRight, Scope: rest.ScopeNone, Params: rest.NoParams, MaxBody: maxSignBody, Handle: a.signCertificate})
	a.Handle(rest.Route{Method: http.MethodGet, Path: "/tokens/:id", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.ReadParams, Handle: a.token})
	a.Handle(rest.Route{Method: http.MethodDelete, Path: "/tokens/:id", Right: control.Admin, Scope: rest.ScopeNone, Params: rest.NoParams, Handle: a.revokeToken})
}

// revokedToken is the answer to a revocation.
type revokedToken struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"`
}

var newTokenFields = strictjson.FieldsOf[wire.NewToken]()

// createToken answers the secret, once; a repeat by the same Idempotency-Key the same.
func (a *API) createToken(rq *rest.Request) error {
	var in wire.NewToken
	if err := rq.Decode(newTokenFields, &in); err != nil {
		return err
	}
	if in.TTL == 0 && rest.HasField(rq.Body(), "ttl") {
		return wire.Invalid("ttl", "ttl is above 0: leave it out for a token that does not expire")
	}
	t, err := a.control.CreateToken(rq.Context(), rq.Principal(), in, rq.IdempotencyKey())
	if err != nil {
		return err
	}
	rq.About(t.ID, "")
	rq.WrittenAt(t.Index)
	return rq.JSON(http.StatusCreated, &t)
}

var tokenFields = rest.Fields[wire.Token]{
	"id":         func(t *wire.Token) string { return t.ID },
	"name":       func(t *wire.Token) string { return t.Name },
	"created_by": func(t *wire.Token) string { return t.CreatedBy },
}

func (a *API) tokens(rq *rest.Request) error {
	page, filter, err := rest.ParsePage(rq.Params(), tokenFields, nil)
	if err != nil {
		return err
	}
	r, err := rq.Params().Read()
	if err != nil {
		return err
	}
	return rq.Blocking(r.Wait, func(ctx context.Context) error {
		rows, next, err := filter.Collect(page, func(p control.Page) ([]wire.Token, string, error) {
			list, fresh, err := a.control.TokenList(ctx, rq.Principal(), r, p)
			r.Wait = 0 // further pages of this answer do not wait again
			return list.Tokens, list.Next, rq.FreshFrom(fresh, err)
		}, func(t *wire.Token) string { return t.ID })
		if err != nil {
			return err
		}
		return rq.JSON(http.StatusOK, wire.Tokens{Tokens: rows, Next: next})
	})
}

func (a *API) token(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	return rest.Read(rq, func(ctx context.Context, who control.Principal, r control.Read) (wire.Token, control.Fresh, error) {
		return a.control.TokenByID(ctx, who, r, id)
	})
}

func (a *API) tokenSelf(rq *rest.Request) error {
	t, err := a.control.OwnToken(rq.Context(), rq.Principal())
	if err != nil {
		return err
	}
	return rq.JSON(http.StatusOK, &t)
}

func (a *API) revokeToken(rq *rest.Request) error {
	id, err := rq.PathParam("id")
	if err != nil {
		return err
	}
	index, err := a.control.RevokeToken(rq.Context(), rq.Principal(), id)
	if err != nil {
		return err
	}
	rq.WrittenAt(index)
	return rq.JSON(http.StatusOK, revokedToken{ID: id, Index: index})
}

var newJoinTokenFields = strictjson.FieldsOf[wire.NewJoinToken]()

// createJoinToken answers the token, once; a repeat by the same Idempotency-Key the same.
func (a *API) createJoinToken(rq *rest.Request) error {
	var in wire.NewJoinToken
	if err := rq.Decode(newJoinTokenFields, &in); err != nil {
		return err
	}
	if in.TTL == 0 && rest.HasField(rq.Body(), "ttl") {
		return wire.Invalid("ttl", "ttl is above 0: leave it out for %v", wire.DefaultJoinTTL)
	}
	rq.About(in.ID, "")
	t, err := a.control.CreateJoinToken(rq.Context(), rq.Principal(), in, rq.IdempotencyKey())
	if err != nil {
		return err
	}
	rq.WrittenAt(t.Index)
	return rq.JSON(http.StatusCreated, &t)
}

// maxSignBody is the longest body of POST /ca/sign: the longest request for a
// certificate, with each end of a line escaped.
const maxSignBody = 32 << 10

var signFields = strictjson.FieldsOf[wire.SignCertificate]()

func (a *API) signCertificate(rq *rest.Request) error {
	var in wire.SignCertificate
	if err := rq.Decode(signFields, &in); err != nil {
		return err
	}
	rq.About(in.ID, "")
	signed, err := a.control.SignCertificate(rq.Context(), rq.Principal(), in)
	if err != nil {
		return err
	}
	return rq.JSON(http.StatusOK, &signed)
}
