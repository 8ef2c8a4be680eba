package httpapi

import (
	"net/http"

	"github.com/folkmoot/folkmoot/wire"
)

// MaxHeader bounds the headers of a request, in bytes.
const MaxHeader = maxHeader

// Route is one method of one path template, for the contract test.
type Route struct{ Method, Path string }

// Routes lists what the router answers, but for HEAD, which comes with GET.
func (a *API) Routes() []Route {
	var rs []Route
	for _, r := range a.echo.Routes() {
		if r.Method != http.MethodHead {
			rs = append(rs, Route{r.Method, r.Path})
		}
	}
	return rs
}

// Written returns what the direct writers make of v.
func Written(v any) string {
	rq := &request{}
	switch v := v.(type) {
	case wire.SignedIn:
		putSignedIn(&rq.out, &v)
	case wire.Beat:
		putBeat(&rq.out, &v)
	case wire.Component:
		putComponent(&rq.out, &v)
	case wire.Components:
		putComponents(rq, v.Components, v.Next)
	}
	return rq.out.String()
}

// QuickSignIn and StrictSignIn read the same body in the two ways.
func QuickSignIn(body []byte) (in wire.SignIn, ok bool) {
	ok = quickSignIn(body, &in)
	return in, ok
}

func StrictSignIn(body []byte) (in wire.SignIn, err error) {
	err = decodeStrict(body, signInShape, &in)
	return in, err
}
