package jsonrpc_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/jsonrpc"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// strictSignIn reads a sign_in with encoding/json alone.
func strictSignIn(content []byte) (id json.RawMessage, h wire.Hello, ok bool) {
	var rq struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(content, &rq) != nil || rq.Method != "sign_in" || rq.Params == nil {
		return nil, h, false
	}
	d := json.NewDecoder(bytes.NewReader(rq.Params))
	d.DisallowUnknownFields()
	return rq.ID, h, d.Decode(&h) == nil && strictjson.UniqueKeys(content, &rq) == nil && strictjson.UniqueKeys(rq.Params, &h) == nil
}

// strictBare reads a request with encoding/json alone.
func strictBare(content []byte) (id json.RawMessage, method string, params json.RawMessage, ok bool) {
	var rq struct {
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params"`
		Version string          `json:"jsonrpc"`
		Result  json.RawMessage `json:"result"`
		Error   json.RawMessage `json:"error"`
	}
	ok = json.Unmarshal(content, &rq) == nil && rq.Result == nil && rq.Error == nil && strictjson.UniqueKeys(content, &rq) == nil
	return rq.ID, rq.Method, rq.Params, ok
}

var usualSignIns = []string{
	`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser"}}`,
	`{"id":-12,"method":"sign_in","params":{},"jsonrpc":"2.0"}`,
	`{"params":{"name":"laser"},"method":"sign_in","id":0}`,
	"\t{ \"jsonrpc\" : \"2.0\" , \"id\" : \"a b\" ,\r\n\"method\":\"sign_in\", \"params\": { \"name\" : \"laser\" } } ",
	`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser","namespace":"n1","session":"s","secret":"s.x","labels":{"v":"1","w":"<&>"},` +
		`"place":{"host":"h","group":"g"},"lease":"1h0m0s","runtimes":["sh","python3"],"slots":4,"key":"0123456789abcdef","token":"t"}}`,
	`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"labels":{},"runtimes":[],"place":{},"slots":-0,"lease":"-1.5s"}}`,
	`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"place":{"group":"g"},"slots":-3,"runtimes":[""],"labels":{"":""}}}`,
}

// Each of these is no usual sign-in; many are none at all.
var unusualSignIns = []string{
	``, ` `, `null`, `[]`, `{}`, `{"id":1}`, `1`, `"sign_in"`, `{`, `{"id":1,"method":"sign_in","params":{}`,
	`{"method":"sign_in","params":{}}`, `{"id":1,"method":"sign_in"}`, `{"id":1,"method":"sign_out","params":{}}`, `{"id":1,"params":{}}`,
	`{"id":null,"method":"sign_in","params":{}}`, `{"id":1.5,"method":"sign_in","params":{}}`, `{"id":1e3,"method":"sign_in","params":{}}`,
	`{"id":01,"method":"sign_in","params":{}}`, `{"id":-,"method":"sign_in","params":{}}`, `{"id":[1],"method":"sign_in","params":{}}`,
	`{"id":12345678901234567890,"method":"sign_in","params":{}}`, `{"id":true,"method":"sign_in","params":{}}`,
	`{"id":1,"id":2,"method":"sign_in","params":{}}`, `{"id":1,"method":"sign_in","method":"sign_in","params":{}}`,
	`{"id":1,"method":"sign_in","params":{"name":"a"},"params":{}}`, `{"id":1,"method":"sign_in","params":{},"jsonrpc":"2.0","jsonrpc":"2.0"}`,
	`{"ID":1,"method":"sign_in","params":{}}`, `{"id":1,"Method":"sign_in","params":{}}`, `{"id":1,"method":"sign_in","params":{},"more":1}`,
	`{"id":1,"method":"sign_in","params":{},"jsonrpc":2}`, `{"id":1,"method":"sign_in","params":null}`, `{"id":1,"method":"sign_in","params":["laser"]}`,
	`{"id":1,"method":"sign_in","params":{}} x`, `{"id":1,"method":"sign_in","params":{}}{}`, `{"id":1,"method":"sign_in","params":{},}`,
	`{"id":1,"method":"sign_in" "params":{}}`, `{,"id":1,"method":"sign_in","params":{}}`, `{"id" 1,"method":"sign_in","params":{}}`,
	`{"id":1,"method":"sign_in","params":{"Name":"a"}}`, `{"id":1,"method":"sign_in","params":{"name":"a","name":"b"}}`,
	`{"id":1,"method":"sign_in","params":{"name":null}}`, `{"id":1,"method":"sign_in","params":{"name":1}}`, `{"id":1,"method":"sign_in","params":{"nom":"a"}}`,
	`{"id":1,"method":"sign_in","params":{"name":"\u0061"}}`, `{"id":1,"method":"sign_in","params":{"name":"ä"}}`, "{\"id\":1,\"method\":\"sign_in\",\"params\":{\"name\":\"\xff\"}}",
	"{\"id\":1,\"method\":\"sign_in\",\"params\":{\"name\":\"a\nb\"}}", "{\"id\":1,\"method\":\"sign_in\",\"params\":{\"name\":\"\x7f\"}}",
	`{"id":1,"method":"sign_in","params":{"lease":10}}`, `{"id":1,"method":"sign_in","params":{"lease":"ten"}}`, `{"id":1,"method":"sign_in","params":{"lease":""}}`,
	`{"id":1,"method":"sign_in","params":{"lease":null}}`, `{"id":1,"method":"sign_in","params":{"slots":4.0}}`, `{"id":1,"method":"sign_in","params":{"slots":"4"}}`,
	`{"id":1,"method":"sign_in","params":{"slots":1234567890123456789}}`, `{"id":1,"method":"sign_in","params":{"slots":1e1}}`, `{"id":1,"method":"sign_in","params":{"slots":007}}`,
	`{"id":1,"method":"sign_in","params":{"labels":null}}`, `{"id":1,"method":"sign_in","params":{"labels":{"a":1}}}`, `{"id":1,"method":"sign_in","params":{"labels":["a"]}}`,
	`{"id":1,"method":"sign_in","params":{"labels":{"a":"1",}}}`, `{"id":1,"method":"sign_in","params":{"labels":{"a":"1"},"labels":{"b":"2"}}}`,
	`{"id":1,"method":"sign_in","params":{"labels":{"a":"1","b":"2","a":"1"}}}`,
	`{"id":1,"method":"sign_in","params":{"place":{"host":"a","host":"b"}}}`, `{"id":1,"method":"sign_in","params":{"place":{"room":"a"}}}`,
	`{"id":1,"method":"sign_in","params":{"place":"a"}}`, `{"id":1,"method":"sign_in","params":{"place":{"host":"a"},"place":{"group":"b"}}}`,
	`{"id":1,"method":"sign_in","params":{"runtimes":null}}`, `{"id":1,"method":"sign_in","params":{"runtimes":["a",]}}`, `{"id":1,"method":"sign_in","params":{"runtimes":[1]}}`,
	`{"id":1,"method":"sign_in","params":{"runtimes":["a" "b"]}}`, `{"id":1,"method":"sign_in","params":{"runtimes":["a"}}`,
}

// The usual sign-ins are read as encoding/json reads them, and others are left
// to it.
func TestParseSignIn(t *testing.T) {
	for _, s := range usualSignIns {
		id, got, ok := jsonrpc.ParseSignIn([]byte(s))
		wantID, want, known := strictSignIn([]byte(s))
		if !known {
			t.Fatalf("%s is no sign-in", s)
		}
		if !ok || string(id) != string(wantID) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %s %+v (%v), want %s %+v", s, id, got, ok, wantID, want)
		}
	}
	for _, s := range unusualSignIns {
		if id, got, ok := jsonrpc.ParseSignIn([]byte(s)); ok || id != nil || !reflect.DeepEqual(got, wire.Hello{}) {
			t.Errorf("%s was not declined: %s %+v (%v)", s, id, got, ok)
		}
	}
}

// Every member of a sign-in is known: what a client of ours writes is never
// declined.
func TestParseSignInKnowsEveryMember(t *testing.T) {
	var h wire.Hello
	fill(reflect.ValueOf(&h).Elem())
	params, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	s := `{"jsonrpc":"2.0","id":1,"method":"sign_in","params":` + string(params) + `}`
	if _, got, ok := jsonrpc.ParseSignIn([]byte(s)); !ok || !reflect.DeepEqual(got, h) {
		t.Errorf("%s: got %+v (%v), want %+v", s, got, ok, h)
	}
}

// fill gives every field a value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"key": "value"}))
	default:
		panic(v.Kind())
	}
}

// The usual requests without params are read as encoding/json reads them, and
// others are left to it.
func TestParseBare(t *testing.T) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"sign_out"}`,
		`{"id":1,"method":"sign_out","params":{},"jsonrpc":"2.0"}`,
		` { "id" : "7" , "method" : "pong" , "params" : {` + "\t" + `} } `,
		`{"method":"pong"}`, `{"id":1}`, `{}`, `{"jsonrpc":"1.0","method":"a<b>"}`,
	} {
		id, method, params, ok := jsonrpc.ParseBare([]byte(s))
		wantID, wantMethod, wantParams, known := strictBare([]byte(s))
		if !known {
			t.Fatalf("%s is no request", s)
		}
		if !ok || !bytes.Equal(id, wantID) || (id == nil) != (wantID == nil) || method != wantMethod || !bytes.Equal(params, wantParams) || (params == nil) != (wantParams == nil) {
			t.Errorf("%s: got %s %s %s (%v), want %s %s %s", s, id, method, params, ok, wantID, wantMethod, wantParams)
		}
	}
	for _, s := range []string{
		``, `null`, `[]`, `[{"id":1,"method":"sign_out"}]`, `{"id":1,"method":"sign_out"`, `{"id":1,"method":"sign_out"}}`, `{"id":1,"method":"sign_out",}`,
		`{"id":null,"method":"sign_out"}`, `{"id":1.0,"method":"sign_out"}`, `{"id":1,"id":1,"method":"sign_out"}`, `{"id":1,"METHOD":"sign_out"}`,
		`{"id":1,"method":"sign_out","params":null}`, `{"id":1,"method":"sign_out","params":[]}`, `{"id":1,"method":"sign_out","params":{"a":1}}`,
		`{"id":1,"method":"sign\u005fout"}`, `{"id":1,"method":null}`, `{"id":1,"result":null}`, `{"id":1,"error":{}}`, `{"id":1,"method":"sign_out","jsonrpc":2.0}`,
		`{"id":1,"method":"` + strings.Repeat("m", 512) + `"}`,
	} {
		if id, method, params, ok := jsonrpc.ParseBare([]byte(s)); ok || id != nil || method != "" || params != nil {
			t.Errorf("%s was not declined: %s %s %s (%v)", s, id, method, params, ok)
		}
	}
}

// Whatever is read quickly is read as encoding/json reads it.
func FuzzFastReader(f *testing.F) {
	for _, list := range [][]string{usualSignIns, unusualSignIns, {`{"jsonrpc":"2.0","id":1,"method":"sign_out"}`, `{"id":"x","method":"pong","params":{}}`}} {
		for _, s := range list {
			f.Add([]byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		before := string(content)
		if id, got, ok := jsonrpc.ParseSignIn(content); ok {
			wantID, want, known := strictSignIn(content)
			if !known || !bytes.Equal(id, wantID) || !reflect.DeepEqual(got, want) {
				t.Errorf("%q as a sign-in: got %s %+v, want %s %+v (%v)", content, id, got, wantID, want, known)
			}
		}
		if id, method, params, ok := jsonrpc.ParseBare(content); ok {
			wantID, wantMethod, wantParams, known := strictBare(content)
			if !known || !bytes.Equal(id, wantID) || method != wantMethod || !bytes.Equal(params, wantParams) {
				t.Errorf("%q: got %s %s %s, want %s %s %s (%v)", content, id, method, params, wantID, wantMethod, wantParams, known)
			}
		}
		if string(content) != before {
			t.Errorf("%q became %q", before, content)
		}
	})
}

type welcomed struct {
	ID      json.RawMessage `json:"id"`
	Result  wire.Welcome    `json:"result"`
	Version string          `json:"jsonrpc"`
}

type done struct {
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result"`
	Version string          `json:"jsonrpc"`
}

// same compares an answer with what encoding/json makes of it.
func same(t *testing.T, got []byte, ok bool, strict any) {
	t.Helper()
	if !ok {
		if string(got) != "before" {
			t.Errorf("declined, and %q is left of what was before", got)
		}
		return
	}
	want, err := json.Marshal(strict)
	if err != nil || string(got) != "before"+string(want) {
		t.Errorf("got %s, want %s (%v)", got, want, err)
	}
}

var aWelcome = wire.Welcome{
	SignedIn: wire.SignedIn{
		FullName: "n1.laser", Session: "s", Secret: "s.x-_y", Namespace: "n1", Home: "n1",
		Lease: wire.Duration(90 * time.Second), Index: 1<<64 - 1,
	},
	Coordinators: []wire.Door{{ID: "n1", Namespace: "n1", Address: "127.0.0.1:7370"}, {ID: "n2"}},
}

// Answers are written as encoding/json writes them, or left to it.
func TestAppendAnswers(t *testing.T) {
	for _, id := range []string{`1`, `-0`, `12345`, `"a b"`, `""`} {
		for _, resumed := range []bool{false, true} {
			w := aWelcome
			w.Resumed = resumed
			got, ok := jsonrpc.AppendWelcome([]byte("before"), json.RawMessage(id), &w)
			if !ok {
				t.Errorf("id %s was declined", id)
			}
			same(t, got, ok, welcomed{json.RawMessage(id), w, "2.0"})
		}
		got, ok := jsonrpc.AppendDone([]byte("before"), json.RawMessage(id))
		if !ok {
			t.Errorf("id %s was declined", id)
		}
		same(t, got, ok, done{json.RawMessage(id), nil, "2.0"})
	}
	none := wire.Welcome{Coordinators: []wire.Door{}}
	got, ok := jsonrpc.AppendWelcome([]byte("before"), json.RawMessage("1"), &none)
	if !ok {
		t.Error("a welcome without doors was declined")
	}
	same(t, got, ok, welcomed{json.RawMessage("1"), none, "2.0"})
	for _, id := range []string{``, `null`, ` 1`, `1 `, `"`, `"<"`, `"a\n"`, `"ä"`, `1.5`, `[1]`, `{}`, `"a" "b"`, `01`, `1,2`} {
		got, ok := jsonrpc.AppendDone([]byte("before"), json.RawMessage(id))
		if ok || string(got) != "before" {
			t.Errorf("id %s was not declined: %s", id, got)
		}
		if got, ok = jsonrpc.AppendWelcome([]byte("before"), json.RawMessage(id), &aWelcome); ok || string(got) != "before" {
			t.Errorf("id %s was not declined: %s", id, got)
		}
	}
	if got, ok := jsonrpc.AppendWelcome([]byte("before"), json.RawMessage("1"), new(wire.Welcome)); ok || string(got) != "before" {
		t.Errorf("a welcome with a null list was not declined: %s", got)
	}
	for _, text := range []string{"\"", "\\", "\n", "ä", "\x7f", "\xff", "\u2028", "<", ">", "&"} {
		for i := range 8 {
			w := aWelcome
			w.Coordinators = []wire.Door{{}, {}}
			*[]*string{
				&w.FullName, &w.Session, &w.Secret, &w.Namespace, &w.Home,
				&w.Coordinators[1].ID, &w.Coordinators[1].Namespace, &w.Coordinators[0].Address,
			}[i] = text
			if got, ok := jsonrpc.AppendWelcome([]byte("before"), json.RawMessage("1"), &w); ok || string(got) != "before" {
				t.Errorf("field %d: %q was written as it is: %s", i, text, got)
			}
		}
	}
}

// Every member of a welcome is written.
func TestAppendWelcomeKnowsEveryMember(t *testing.T) {
	var w wire.Welcome
	fill(reflect.ValueOf(&w).Elem())
	w.Lease = wire.Duration(time.Second)
	got, ok := jsonrpc.AppendWelcome([]byte("before"), json.RawMessage("1"), &w)
	if !ok {
		t.Fatalf("%+v was declined", w)
	}
	same(t, got, ok, welcomed{json.RawMessage("1"), w, "2.0"})
}

// Whatever is written quickly is written as encoding/json writes it.
func FuzzAppendAnswers(f *testing.F) {
	f.Add([]byte("1"), "n1.laser", "<", int64(1), uint64(7), true)
	f.Add([]byte(`"x"`), "", "n1", int64(90e9), uint64(1<<63), false)
	f.Fuzz(func(t *testing.T, id []byte, a, b string, lease int64, index uint64, resumed bool) {
		w := wire.Welcome{
			SignedIn: wire.SignedIn{FullName: a, Session: b, Secret: a, Namespace: b, Home: a, Lease: wire.Duration(lease), Index: index},
			Resumed:  resumed, Coordinators: []wire.Door{{ID: a, Namespace: b, Address: a}, {ID: b, Namespace: a, Address: b}},
		}
		got, ok := jsonrpc.AppendWelcome([]byte("before"), id, &w)
		same(t, got, ok, welcomed{id, w, "2.0"})
		got, ok = jsonrpc.AppendDone([]byte("before"), id)
		same(t, got, ok, done{id, nil, "2.0"})
	})
}

// What the two requests and the two answers of a session cost, beside
// encoding/json.
func BenchmarkSignIn(b *testing.B) {
	in := []byte(`{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"laser","lease":"1h0m0s","labels":{"v":"` + strings.Repeat("v", 256) + `"}}}`)
	out := []byte(`{"jsonrpc":"2.0","id":1,"method":"sign_out"}`)
	for _, c := range []struct {
		what string
		do   func() bool
	}{
		{"read sign_in/quick", func() bool { _, _, ok := jsonrpc.ParseSignIn(in); return ok }},
		{"read sign_in/json", func() bool { _, _, ok := strictSignIn(in); return ok }},
		{"read sign_out/quick", func() bool { _, _, _, ok := jsonrpc.ParseBare(out); return ok }},
		{"read sign_out/json", func() bool { _, _, _, ok := strictBare(out); return ok }},
		{"write sign_in/quick", func() bool {
			_, ok := jsonrpc.AppendWelcome(make([]byte, 0, 512), json.RawMessage("1"), &aWelcome)
			return ok
		}},
		{"write sign_in/json", func() bool {
			_, err := json.Marshal(welcomed{json.RawMessage("1"), aWelcome, "2.0"})
			return err == nil
		}},
		{"write sign_out/quick", func() bool { _, ok := jsonrpc.AppendDone(nil, json.RawMessage("1")); return ok }},
		{"write sign_out/json", func() bool { _, err := json.Marshal(done{json.RawMessage("1"), nil, "2.0"}); return err == nil }},
	} {
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.do() {
					b.Fatal("declined")
				}
			}
		})
	}
}
