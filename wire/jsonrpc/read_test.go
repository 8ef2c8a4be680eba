package jsonrpc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
)

var contents = []string{
	``, ` `, `null`, `7`, `{}`, `[]`, `[1]`, `{"id":1,"method":"pong"}`, `[{"id":1,"method":"pong"},{"method":"pong","params":[1]}]`,
	`{"id":1,"method":"pong","id":2}`, `{"id":1,"METHOD":"pong"}`, `{"id":1.5,"method":"pong"}`, `{"id":null,"method":"pong","params":null}`,
	`{"id":1,"result":null,"jsonrpc":"2.0"}`, `{"id":1,"error":{"code":-32601,"message":"m","data":[1]}}`, `{"id":1,"method":"pong","jsonrpc":2}`,
	`{"id":1,"method":"pong","colour":1}`, `{"id":1,"method":""}`, `{"id":1,"method":"p","params":7}`, `{"id":"\ud83d","method":"p"`, `[{"id":3,"result":"cut o`,
}

// Whatever comes, it is parsed, or refused with one of the errors promised, and
// what one parser takes as a request has the method that encoding/json reads.
func FuzzParse(f *testing.F) {
	for _, s := range contents {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		before := bytes.Clone(content)
		elements, batch, err := jsonrpc.Split(content)
		if err != nil && (!batch || !errors.Is(err, jsonrpc.ErrNotJSON)) {
			t.Errorf("%q: %v", content, err)
		}
		for _, one := range elements {
			for _, parse := range []func([]byte) (jsonrpc.Message, error){jsonrpc.Parse, jsonrpc.ParseStrict} {
				checkParsed(t, one, parse)
			}
			if r, err := jsonrpc.ParseReply(one); err == nil && !json.Valid(one) {
				t.Errorf("%q was taken as %+v", one, r)
			}
			jsonrpc.ResponseID(one)
		}
		if !bytes.Equal(before, content) {
			t.Errorf("%q became %q", before, content)
		}
	})
}

func checkParsed(t *testing.T, content []byte, parse func([]byte) (jsonrpc.Message, error)) {
	m, err := parse(content)
	var invalid *jsonrpc.InvalidRequest
	switch {
	case err == nil:
		var plain struct{ Method string }
		if json.Unmarshal(content, &plain) != nil || m.Method != plain.Method {
			t.Errorf("%q: method %q, encoding/json reads %q", content, m.Method, plain.Method)
		}
		if m.ID != nil && !json.Valid(m.ID) || m.Params != nil && !json.Valid(m.Params) {
			t.Errorf("%q: id %s, params %s", content, m.ID, m.Params)
		}
	case errors.Is(err, jsonrpc.ErrNotJSON):
		if json.Valid(content) {
			t.Errorf("%q is JSON", content)
		}
	case !errors.As(err, &invalid):
		t.Errorf("%q: %v", content, err)
	}
}

// The error of a missing method is told from every other not_found.
func TestErrNoMethod(t *testing.T) {
	err := jsonrpc.NoMethod("COORDINATOR", "fly")
	if !errors.Is(err, jsonrpc.ErrNoMethod) || wire.CodeOf(err) != wire.CodeNotFound || err.Error() != `COORDINATOR has no method "fly"` {
		t.Errorf("got %v (%s)", err, wire.CodeOf(err))
	}
	if other := error(wire.Refuse(wire.CodeNotFound, "no job")); errors.Is(other, jsonrpc.ErrNoMethod) {
		t.Error("a missing job is taken for a missing method")
	}
	if e := jsonrpc.ErrorOf(err); e.Code != jsonrpc.CodeNoMethod || e.Data != nil {
		t.Errorf("got %+v", e)
	}
}

// What ErrorOf writes, Refusal reads back.
func TestErrorsThereAndBack(t *testing.T) {
	for _, want := range []*wire.Error{
		wire.Invalid("name", "no"), wire.Refuse(wire.CodeNameTaken, "taken"), wire.Refuse(wire.CodeBusy, "<later>"), wire.NotTried("no leader"),
	} {
		if got := jsonrpc.ErrorOf(want).Refusal(); *got != *want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for code, want := range map[int]wire.Code{
		jsonrpc.CodeReceiverUnknown: wire.CodeNotFound, jsonrpc.CodeNoMethod: wire.CodeNotFound,
		jsonrpc.CodeInvalidParams: wire.CodeInvalid, jsonrpc.CodeServer: wire.CodeInternal,
	} {
		if got := (&jsonrpc.Error{Code: code}).Refusal(); got.Code != want {
			t.Errorf("%d: got %s, want %s", code, got.Code, want)
		}
	}
}

// Params in an array get their names, and too many or doubled ones are refused.
func TestDecodeParams(t *testing.T) {
	type in struct {
		A int `json:"a"`
		B int `json:"b"`
	}
	names := []string{"a", "b"}
	for _, c := range []struct {
		raw, refused string
		names        []string
		want         in
	}{
		{raw: ``, names: names},
		{raw: `null`, names: names},
		{raw: `[]`, names: names},
		{raw: `[1]`, names: names, want: in{A: 1}},
		{raw: ` [1,2] `, names: names, want: in{1, 2}},
		{raw: `{"b":2}`, want: in{B: 2}},
		{raw: `[1,2,3]`, names: names, refused: "the method takes 2 params, not 3"},
		{raw: `[1`, names: names, refused: "params are not JSON: unexpected end of JSON input"},
		{raw: `[1]`, refused: "params: cannot unmarshal array into Go value of type jsonrpc_test.in"},
		{raw: `{"c":1}`, names: names, refused: `params: unknown field "c"`},
		{raw: `{"a":1,"a":2}`, names: names, refused: `"a" is told twice`},
		{raw: `{} 1`, names: names, refused: "something follows the params"},
	} {
		var got in
		err := jsonrpc.DecodeParams(json.RawMessage(c.raw), c.names, &got)
		switch {
		case c.refused == "" && (err != nil || got != c.want):
			t.Errorf("%s: got %+v, %v, want %+v", c.raw, got, err, c.want)
		case c.refused != "" && (wire.CodeOf(err) != wire.CodeInvalid || err.Error() != c.refused):
			t.Errorf("%s: got %v, want %s", c.raw, err, c.refused)
		}
	}
}
