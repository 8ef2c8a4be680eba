package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

var bodies = []string{
	``, ` `, `null`, `7`, `{}`, `[]`, `{"name":"a"}`, ` {"name":"a"} {}`, `{"name":"a"}x`, `{"name":"a","name":"b"}`, `{"nmae":"a"}`, `{"NAME":"a"}`,
	`{"name":["a"]}`, `{"name":`, "{\"name\":\"\xff\"}", `{"name":"\udce9"}`, `{"labels":{"a":{"b":[[1]]}}}`, `{"labels":[[[[[[`, `{"\u006eame":"a"}`, `[[[[[]]]]]`,
	`{"nam`, `{"name":"a\`, `{"place":{"host":"h","host":"i"}}`,
}

// What Decode returns is nothing but encoding/json's errors, ErrTrailing and
// refusals, and what it takes is what encoding/json reads.
func FuzzDecode(f *testing.F) {
	for _, s := range bodies {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var in, plain wire.SignIn
		err := strictjson.Decode(data, &in)
		var wrong *strictjson.DecodeError
		var refusal *wire.Error
		switch {
		case err == nil:
			if json.Unmarshal(data, &plain) != nil {
				t.Errorf("%q was taken, encoding/json refuses it", data)
			}
		case errors.As(err, &wrong) || errors.Is(err, strictjson.ErrTrailing):
		case !errors.As(err, &refusal) || refusal.Code != wire.CodeInvalid:
			t.Errorf("%q: %v", data, err)
		}
	})
}

// Check takes no text that is nested too deep, is not UTF-8 or has another field.
func FuzzCheck(f *testing.F) {
	for _, s := range bodies {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fields := range []strictjson.Fields{nil, strictjson.FieldsOf[wire.SignIn]()} {
			l := strictjson.Limits{What: "the body", MaxDepth: 4, Fields: fields}
			if err := l.Check(data); err != nil {
				if wire.CodeOf(err) != wire.CodeInvalid {
					t.Errorf("%q: %v", data, err)
				}
				continue
			}
			if !utf8.Valid(data) || json.Valid(data) && strictjson.Depth(data) > l.MaxDepth {
				t.Errorf("%q was taken", data)
			}
			var object map[string]json.RawMessage
			if fields == nil || json.Unmarshal(data, &object) != nil {
				continue
			}
			for name := range object {
				if !fields[name] && strings.ToValidUTF8(name, "") == name && !strings.ContainsRune(name, utf8.RuneError) {
					t.Errorf("%q was taken with the field %q", data, name)
				}
			}
		}
	})
}
