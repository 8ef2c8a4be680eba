package httpapi

import "github.com/folkmoot/folkmoot/wire"

// quickSignIn reads the bodies that nearly all sign-ins have. It returns false
// for everything else, right or wrong, which decodeStrict then judges; a test
// holds the two to each other. It takes a tenth of the time, and sign-ins are
// what a cluster does most.
func quickSignIn(body []byte, in *wire.SignIn) (ok bool) {
	got, ok := wire.ParseSignInBody(body)
	if ok {
		*in = got
	}
	return ok
}
