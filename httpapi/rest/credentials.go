package rest

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// authenticate hands over what a request for a route of this right presents. Errors:
// unauthorized; invalid (who is let in has put a token into the query); of a route that
// takes a join token unavailable, too.
func (rt *Router) authenticate(r *http.Request, right control.Right) (control.Principal, error) {
	given := r.Header["Authorization"]
	token, wellFormed := bearer(given)
	from := control.Credentials{
		Door: control.DoorREST, Remote: r.RemoteAddr, Certificate: certificate(r), Token: token, Secret: first(r.Header["X-Session"]),
	}
	var who control.Principal
	var err error
	if right == control.JoinRight {
		who, err = rt.cfg.Coordinator.AuthenticateJoin(r.Context(), from)
	} else {
		who, err = rt.cfg.Coordinator.Authenticate(from)
	}
	switch {
	case err == nil:
		if name := tokenInQuery(r.URL.RawQuery); name != "" {
			return control.Principal{}, wire.Invalid(Clip(name), "the query has a token, which logs and histories keep: %s, and revoke this one", onlyHeader)
		}
	case wellFormed:
	case len(given) > 1:
		err = wire.Refuse(wire.CodeUnauthorized, "this call needs one header Authorization: Bearer TOKEN, not %d", len(given))
	case len(given) == 1:
		err = wire.Refuse(wire.CodeUnauthorized, "this call needs the header Authorization: Bearer TOKEN, of no other scheme")
	case tokenInQuery(r.URL.RawQuery) != "" || namesToken(r.URL.RawQuery):
		err = wire.Refuse(wire.CodeUnauthorized, "tokens are never taken from a query, which logs and histories keep: %s", onlyHeader)
	case len(r.Header["Cookie"]) > 0:
		err = wire.Refuse(wire.CodeUnauthorized, "tokens are never taken from a cookie: %s", onlyHeader)
	default:
		err = wire.Refuse(wire.CodeUnauthorized, "this call needs the header Authorization: Bearer TOKEN")
	}
	return who, err
}

// onlyHeader says where a token belongs.
const onlyHeader = "send it as the header Authorization: Bearer TOKEN"

// tokenPrefixes begin the tokens that are made here.
var tokenPrefixes = []string{wire.TokenPrefix, wire.JoinTokenPrefix}

// tokenInQuery returns the name of the first query parameter whose value is a token of
// ours, by its looks; "" if there is none. The name is not unescaped.
func tokenInQuery(raw string) string {
	if !strings.Contains(raw, "fm") && !strings.Contains(raw, "%") {
		return ""
	}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if v, err := unescape(value); err == nil {
			value = v
		}
		for _, prefix := range tokenPrefixes {
			if strings.HasPrefix(value, prefix) && len(value) >= len(prefix)+20 {
				return name
			}
		}
	}
	return ""
}

// tokenNames are what query parameters with a token are called elsewhere (RFC 6750, and
// others).
var tokenNames = []string{"token", "access_token", "auth_token", "api_key", "apikey", "secret"}

// namesToken tells whether a query has a parameter that elsewhere would be a token.
func namesToken(raw string) bool {
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(tokenNames, strings.ToLower(name)) {
			return true
		}
	}
	return false
}

// bearer takes the token out of the Authorization headers; false is that they
// do not hold one.
func bearer(given []string) (token string, ok bool) {
	if len(given) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// certificate is what TLS has verified of the caller; nil is none.
func certificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
