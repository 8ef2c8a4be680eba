package rest

import (
	"crypto/x509"
	"net/http"
	"strings"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// authenticate hands over what a request presents. Errors: unauthorized.
func (rt *Router) authenticate(r *http.Request) (control.Principal, error) {
	given := r.Header["Authorization"]
	token, wellFormed := bearer(given)
	who, err := rt.cfg.Coordinator.Authenticate(control.Credentials{
		Door: control.DoorREST, Remote: r.RemoteAddr, Certificate: certificate(r), Token: token, Secret: first(r.Header["X-Session"]),
	})
	switch {
	case err == nil || wellFormed:
	case len(given) != 1:
		err = wire.Refuse(wire.CodeUnauthorized, "this call needs one header Authorization: Bearer TOKEN")
	default:
		err = wire.Refuse(wire.CodeUnauthorized, "this call needs the header Authorization: Bearer TOKEN")
	}
	return who, err
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
