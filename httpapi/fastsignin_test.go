package httpapi_test

import (
	"reflect"
	"testing"

	"github.com/folkmoot/folkmoot/httpapi"
)

var signIns = []struct {
	body string
	fast bool
}{
	{`{"name":"laser"}`, true},
	{` { "name" : "laser" , "slots" : 12 } ` + "\n", true},
	{`{"name":"a","namespace":"n1","session":"s","secret":"x","labels":{"k":"v","l":""},"place":{"host":"h","group":"g"},"lease":"15s","runtimes":["sh","python3"],"slots":0}`, true},
	{`{"name":"a","labels":{},"place":{},"runtimes":[]}`, true},
	{`{"name":"a","session":"s","secret":"x","attempt":3}`, true},
	{`{"name":"a","attempt":-1}`, false},
	{`{"name":"a","address":"127.0.0.1:1"}`, false},
	{`{}`, true},
	{`{"name":"\u0061"}`, false},
	{`{"name":"é"}`, false},
	{`{"name":"a","name":"b"}`, false},
	{`{"name":"a","lease":"0s"}`, false},
	{`{"name":"a","lease":15}`, false},
	{`{"name":"a","lease":"15"}`, false},
	{`{"name":"a","slots":-1}`, false},
	{`{"name":"a","slots":01}`, false},
	{`{"name":"a","slots":1.0}`, false},
	{`{"name":"a","slots":1e2}`, false},
	{`{"name":"a","slots":12345678901}`, false},
	{`{"name":null}`, false},
	{`{"name":"a",}`, false},
	{`{"name":"a"}}`, false},
	{`{"name":"a"`, false},
	{`{"name":"a`, false},
	{`{"name" "a"}`, false},
	{`{,}`, false},
	{`{"name":"a","runtimes":["sh",]}`, false},
	{`{"name":"a","runtimes":["sh"`, false},
	{`{"name":"a","place":{"host":"h","host":"i"}}`, false},
	{`{"name":"a","labels":{"k":"1","k":"2"}}`, false},
	{`{"name":"a","Name":"b"}`, false},
	{`{"name":"a","x":1}`, false},
	{`[]`, false},
	{``, false},
}

// The fast decoder takes what is usual and leaves the rest to the strict one.
func TestDecodeSignInFast(t *testing.T) {
	t.Parallel()
	for _, c := range signIns {
		if _, ok := httpapi.DecodeSignInFast([]byte(c.body)); ok != c.fast {
			t.Errorf("%s: taken %v, want %v", c.body, ok, c.fast)
		}
	}
}

// What the fast decoder takes, the strict one decodes to the same.
func FuzzDecodeSignInFast(f *testing.F) {
	for _, c := range signIns {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := httpapi.DecodeSignInFast(body)
		if !ok {
			return
		}
		strict, err := httpapi.DecodeSignInStrict(body)
		if err != nil || !reflect.DeepEqual(fast, strict) {
			t.Errorf("%q: fast %+v, strict %+v, %v", body, fast, strict, err)
		}
	})
}
