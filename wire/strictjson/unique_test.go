package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// A key that is told twice is named by its way from the top, however it is
// written and wherever it is, unless it lies in what is passed on as it came.
func TestUniqueKeys(t *testing.T) {
	t.Parallel()
	type request struct {
		ID     json.RawMessage `json:"id"`
		Params json.RawMessage `json:"params"`
	}
	for _, c := range []struct {
		into any
		body string
		want string // "": fine
	}{
		{&wire.SignIn{}, `{"name":"a","slots":1}`, ""},
		{&wire.SignIn{}, `{"name":"a","name":"b"}`, "name"},
		{&wire.SignIn{}, `{"name":"a","n\u0061me":"a"}`, "name"},
		{&wire.SignIn{}, `{"name":"a","NAME":"b"}`, "name"},
		{&wire.SignIn{}, `{"name":"\"}],{","lease":15,"lease":"1s"}`, "lease"},
		{&wire.SignIn{}, `{"labels":{"k":"v","K":"v","":"v"},"place":{"host":"h"}}`, ""},
		{&wire.SignIn{}, ` { "labels" : { "k" : "v" , "k" : "v" } } `, "labels.k"},
		{&wire.SignIn{}, `{"place":{"host":"h","group":"g","host":"h"}}`, "place.host"},
		{&wire.SignIn{}, `{"runtimes":["sh","sh"],"runtimes":[]}`, "runtimes"},
		{&wire.Hello{}, `{"name":"a","key":"k","name":"b"}`, "name"},
		{&wire.Hello{}, `{"x":1,"x":2}`, "x"},
		{&wire.Hello{}, `{"` + strings.Repeat("x", 9999) + `":1,"` + strings.Repeat("x", 9999) + `":2}`, strings.Repeat("x", 120) + "..."},
		{&wire.SubmitJob{}, `{"args":{"a":1,"a":2},"items":[{"a":1,"a":2},[]],"range":null}`, ""},
		{&wire.SubmitJob{}, `{"items":[{"a":1,"a":2}],"range":{"from":1,"to":2,"from":3}}`, "range.from"},
		{&wire.SendMessage{}, `{"content":{"a":1,"a":2},"payload":[""],"to":"a"}`, ""},
		{&wire.Jobs{}, `{"jobs":[{"id":"a"},{"parts":{"total":1,"total":1}}]}`, "jobs[1].parts.total"},
		{&request{}, `{"id":{"a":1,"a":2},"params":[{"a":1,"a":2}]}`, ""},
		{&request{}, `{"id":1,"params":{},"id":1}`, "id"},
		{&map[string]json.RawMessage{}, `{"a":{"b":1,"b":2},"A":1}`, ""},
		{&map[string]json.RawMessage{}, `{"a":1,"b":2,"a":3}`, "a"},
		{new(any), `[1,{"a":[{"b":1,"b":2}]}]`, "[1].a[0].b"},
		{&wire.SignIn{}, `{"name":`, ""},
		{&wire.SignIn{}, `{"name" "a","name":}`, ""},
		{&wire.SignIn{}, `{"labels":{"a`, ""},
		{&wire.Jobs{}, `{"jobs":[:]`, ""},
		{&wire.Jobs{}, `{"jobs":[{},`, ""},
		{&wire.SignIn{}, ``, ""},
	} {
		err := strictjson.UniqueKeys([]byte(c.body), c.into)
		var refusal *wire.Error
		switch {
		case c.want == "" && err == nil:
		case !errors.As(err, &refusal) || refusal.Code != wire.CodeInvalid || refusal.Field != c.want || !strings.Contains(refusal.Message, c.want):
			t.Errorf("%.200s: got %v, want invalid of %q", c.body, err, c.want)
		}
	}
}

// encoding/json itself must be content with what is judged here, and whatever
// comes is walked through to an end.
func FuzzUniqueKeys(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{`, `{"a":1,"a":2}`, `{"a":{"b":[1,{"c":2,"c":3}]}}`, `{"name":"laser","n\u0061me":"x"}`,
		`{"runtime":"sh","script":"\ud83d","items":[{"a":1,"a":2}],"range":{"from":1,"to":2}}`, `[[],[[]],[`, `{"labels":{"k":"v","K":"v"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var tree any
		if err := strictjson.UniqueKeys(body, &tree); err == nil && json.Unmarshal(body, &tree) == nil {
			again, err := json.Marshal(tree)
			if err != nil || strictjson.UniqueKeys(again, &tree) != nil {
				t.Errorf("%q became %q, which has a key twice", body, again)
			}
		}
		_ = strictjson.UniqueKeys(body, new(wire.SubmitJob))
	})
}

// What would be read as another character is refused, unless it lies in what is passed on as it came.
func TestValidText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		into any
		body string
		want string // "": fine
	}{
		{&wire.SubmitJob{}, `{"script":"a\u00e9\n\ud83d\ude00\\ud83d\ufffd","labels":{"\ud83d\ude00":"\u0041"}}`, ""},
		{&wire.SubmitJob{}, `{"script":"caf\udce9"}`, "script"},
		{&wire.SubmitJob{}, `{"script":"\ud83d"}`, "script"},
		{&wire.SubmitJob{}, `{"script":"\ud83dx\ude00"}`, "script"},
		{&wire.SubmitJob{}, `{"script":"\ud83d\n\ude00"}`, "script"},
		{&wire.SubmitJob{}, `{"script":"\ud83d\ud83d\ude00"}`, "script"},
		{&wire.SubmitJob{}, `{"labels":{"host":"\udce9"}}`, "labels.host"},
		{&wire.SubmitJob{}, "{\"labels\":{\"ho\xe9\":\"a\"}}", "labels."},
		{&wire.SubmitJob{}, "{\"name\":\"caf\xe9\"}", "name"},
		{&wire.SubmitJob{}, `{"args":{"a":"\udce9"},"items":["\udce9"]}`, ""},
		{&wire.SubmitJob{}, "{\"items\":[\"\xe9\"]}", ""},
		{&wire.SignIn{}, `{"runtimes":["sh","\udce9"]}`, "runtimes[1]"},
		{&wire.SendMessage{}, `{"content":"\udce9","payload":["AA=="],"to":"a"}`, ""},
		{&wire.SignIn{}, `{"name":"\u00`, ""},
		{&wire.SignIn{}, `{"name":"\ud83d\u"}`, ""},
	} {
		err := strictjson.ValidText([]byte(c.body), c.into)
		var refusal *wire.Error
		switch {
		case c.want == "" && err == nil:
		case !errors.As(err, &refusal) || refusal.Code != wire.CodeInvalid || !strings.HasPrefix(refusal.Field, c.want):
			t.Errorf("%.200q: got %v, want invalid of %q", c.body, err, c.want)
		}
	}
}
