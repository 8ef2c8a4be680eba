package httpapi

import (
	"bytes"

	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// Encoded returns what the direct encoders make of v.
func Encoded(v any) string {
	var out bytes.Buffer
	switch v := v.(type) {
	case wire.SignedIn:
		writeSignedIn(&out, &v)
	case wire.Beat:
		writeBeat(&out, &v)
	case wire.Component:
		writeComponent(&out, &v)
	case wire.Components:
		writeComponents(&out, v.Components, v.Next)
	}
	return out.String()
}

// DecodeSignInFast and DecodeSignInStrict decode the same body in the two ways.
func DecodeSignInFast(body []byte) (in wire.SignIn, ok bool) {
	ok = decodeSignInFast(body, &in)
	return in, ok
}

func DecodeSignInStrict(body []byte) (in wire.SignIn, err error) {
	err = rest.DecodeStrict(body, signInFields, &in)
	return in, err
}
