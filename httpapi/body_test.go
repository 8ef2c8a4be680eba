package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/wire"
)

// Bodies that are refused, and the problems they are answered with.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	d := serve(t)
	deep := func(n int) string {
		return `{"name":"a","labels":` + strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) + `}`
	}
	for _, c := range []struct {
		what, path, body string
		status           int
		code             wire.Code
		field            string
	}{
		{"not JSON", "/v1/components", `{"name":`, 400, "invalid", ""},
		{"words", "/v1/components", `name=laser`, 400, "invalid", ""},
		{"a list", "/v1/components", `[{"name":"laser"}]`, 400, "invalid", ""},
		{"null", "/v1/components", `null`, 400, "invalid", ""},
		{"a number", "/v1/components", `7`, 400, "invalid", ""},
		{"blank", "/v1/components", ` `, 400, "invalid", ""},
		{"nothing", "/v1/components", ``, 400, "invalid", ""},
		{"unknown field", "/v1/components", `{"name":"laser","nmae":"x"}`, 400, "invalid", "nmae"},
		{"unknown field in escapes", "/v1/components", `{"\u006eame2":"laser"}`, 400, "invalid", "name2"},
		{"field in capitals", "/v1/components", `{"NAME":"laser"}`, 400, "invalid", "NAME"},
		{"unknown inner field", "/v1/components", `{"name":"laser","place":{"house":"x"}}`, 400, "invalid", "house"},
		{"wrong type", "/v1/components", `{"name":["laser"]}`, 400, "invalid", "name"},
		{"wrong inner type", "/v1/components", `{"name":"a","place":{"host":1}}`, 400, "invalid", "place.host"},
		{"fraction for a whole", "/v1/components", `{"name":"a","slots":1.5}`, 400, "invalid", "slots"},
		{"too large a number", "/v1/components", `{"name":"a","slots":1e308}`, 400, "invalid", "slots"},
		{"no lease", "/v1/components", `{"name":"a","lease":"soon"}`, 400, "invalid", "lease"},
		{"lease of nothing", "/v1/components", `{"name":"a","lease":0}`, 400, "invalid", "lease"},
		{"lease of no seconds", "/v1/components", `{"name":"a","lease":"0s"}`, 400, "invalid", "lease"},
		{"lease beyond time", "/v1/components", `{"name":"a","lease":1e308}`, 400, "invalid", "lease"},
		{"lease of a list", "/v1/components", `{"name":"a","lease":[]}`, 400, "invalid", "lease"},
		{"no attempts", "/v1/jobs", `{"runtime":"sh","script":"x","items":[1],"max_attempts":0}`, 400, "invalid", "max_attempts"},
		{"no time for a part", "/v1/jobs", `{"runtime":"sh","script":"x","items":[1],"part_timeout":"0s"}`, 400, "invalid", "part_timeout"},
		{"kept for no time", "/v1/jobs", `{"runtime":"sh","script":"x","items":[1],"keep":0}`, 400, "invalid", "keep"},
		{"chunks of nothing", "/v1/jobs", `{"runtime":"sh","script":"x","range":{"from":0,"to":9,"chunk":0}}`, 400, "invalid", "range"},
		{"trailing data", "/v1/components", `{"name":"a"}{"name":"b"}`, 400, "invalid", ""},
		{"trailing bracket", "/v1/components", `{"name":"a"}}`, 400, "invalid", ""},
		{"not UTF-8", "/v1/components", "{\"name\":\"\xff\"}", 400, "invalid", ""},
		{"deep", "/v1/components", deep(64), 400, "invalid", "labels"},
		{"very deep", "/v1/components", deep(5000), 400, "invalid", "labels"},
		{"deep lists, not closed", "/v1/components", `{"name":` + strings.Repeat("[", 500_000), 400, "invalid", "name"},
		{"too large", "/v1/components", `{"name":"` + strings.Repeat("a", httpapi.MaxBody) + `"}`, 413, "too_large", ""},
		{"too large a message", "/v1/messages", `{"to":"` + strings.Repeat("a", httpapi.MaxMessageBody) + `"}`, 413, "too_large", ""},
		{"a field twice", "/v1/components", `{"name":"laser","name":"laser"}`, 400, "invalid", "name"},
		{"a field twice, once in escapes", "/v1/components", `{"name":"laser","lease":"15s","l\u0065ase":"15s"}`, 400, "invalid", "lease"},
		{"a label twice", "/v1/components", `{"name":"laser","labels":{"k":"1","k":"2"}}`, 400, "invalid", "labels.k"},
		{"an inner field twice", "/v1/components", `{"name":"laser","place":{"host":"h","host":"i"}}`, 400, "invalid", "place.host"},
		{"an inner field twice, once in capitals", "/v1/components", `{"name":"laser","place":{"host":"h","HOST":"i"}}`, 400, "invalid", "place.host"},
		{"a receiver twice", "/v1/messages", `{"to":"a","content":1,"to":"b"}`, 400, "invalid", "to"},
		{"a script twice", "/v1/jobs", `{"runtime":"sh","script":"true","script":"false"}`, 400, "invalid", "script"},
		{"a range's end twice", "/v1/jobs", `{"runtime":"sh","script":"","range":{"from":1,"to":2,"to":3}}`, 400, "invalid", "range.to"},
		{"a member's address twice", "/v1/members", `{"address":"a:1","address":"b:1"}`, 400, "invalid", "address"},
		{"a next leader twice", "/v1/leader/transfer", `{"to":"n1","to":"n2"}`, 400, "invalid", "to"},
		{"a level twice", "/v1/level", `{"level":1,"level":2}`, 400, "invalid", "level"},
		{"a level in words", "/v1/level", `{"level":"newest"}`, 400, "invalid", "level"},
		{"a level by another name", "/v1/level", `{"to":2}`, 400, "invalid", "to"},
		{"payload not base64", "/v1/messages", `{"to":"a","payload":["%"]}`, 400, "invalid", "payload"},
		{"send for years", "/v1/messages", `{"to":"a","timeout":"9000h"}`, 400, "invalid", "timeout"},
		{"job with an unknown field", "/v1/jobs", `{"runtime":"sh","script":"","cron":"* * * * *"}`, 400, "invalid", "cron"},
		{"range of text", "/v1/jobs", `{"runtime":"sh","script":"","range":{"from":"a"}}`, 400, "invalid", "range.from"},
		{"half a character in a script", "/v1/jobs", `{"runtime":"sh","script":"caf\udce9","items":[1]}`, 400, "invalid", "script"},
		{"half a character in a name", "/v1/components", `{"name":"caf\udce9"}`, 400, "invalid", "name"},
		{"transfer to a number", "/v1/leader/transfer", `{"to":1}`, 400, "invalid", "to"},
		{"member without an address", "/v1/members", `{"adress":"x"}`, 400, "invalid", "adress"},
		{"params cut off", "/v1/call/COORDINATOR/echo", `{"a":[1,2}`, 400, "invalid", ""},
		{"params twice", "/v1/call/COORDINATOR/echo", `{} {}`, 400, "invalid", ""},
		{"params too deep", "/v1/call/COORDINATOR/echo", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), 400, "invalid", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := *d
			d.t = t
			d.do("POST", c.path, c.body).wantProblem(c.status, c.code, c.field)
		})
	}
	if n := len(d.fake.sessions); n != 0 {
		t.Errorf("%d sessions signed in by refused bodies", n)
	}
}

// What a caller passes on to others is not judged: a key may be there twice.
func TestPassedOnJSONMayRepeatKeys(t *testing.T) {
	t.Parallel()
	d := serve(t)
	var in wire.SignedIn
	d.do("POST", "/v1/components", `{"name":"a"}`).wantStatus(201).decode(&in)
	d.do("POST", "/v1/messages", `{"to":"n1.a","content":{"x":1,"x":2}}`, "X-Session", in.Secret).wantStatus(200)
	d.do("POST", "/v1/jobs", `{"runtime":"sh","script":"true","args":{"x":1,"x":2},"items":[{"x":1,"x":2}]}`).wantStatus(202)
}

// A body is JSON by its type, in one piece and as it is.
func TestBodyTypes(t *testing.T) {
	t.Parallel()
	d := serve(t)
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{[]string{"Content-Type", "application/json; charset=UTF-8"}, 201},
		{[]string{"Content-Type", "text/plain"}, 415},
		{[]string{"Content-Type", ""}, 415},
		{[]string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{[]string{"Content-Type", "application/json; charset=latin1"}, 415},
		{[]string{"Content-Type", "application/json; charset"}, 415},
		{[]string{"Content-Encoding", "gzip"}, 415},
	} {
		a := d.do("POST", "/v1/components", `{"name":"a"}`, c.headers...)
		if c.status == 415 {
			a.wantProblem(415, wire.CodeInvalid, "")
		} else {
			a.wantStatus(c.status)
		}
	}
}

// A refusal reaches even a caller that wants the connection closed and whose
// body is not read.
func TestRefusalOutlivesTheConnection(t *testing.T) {
	t.Parallel()
	d := serve(t)
	body := strings.Repeat("x", 4*httpapi.MaxBody)
	for i := range 40 {
		req := d.request("POST", "/v1/components", body)
		req.Close = true
		res, err := d.client.Do(req)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d, want 413", res.StatusCode)
		}
	}
}

// A body whose length is not announced is measured as it comes.
func TestUnannouncedLength(t *testing.T) {
	t.Parallel()
	d := serve(t)
	req := d.request("POST", "/v1/components", "x")
	req.Body, req.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(`{"name":"`), bytes.NewReader(make([]byte, httpapi.MaxBody+1)))), -1
	res, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d, want 413", res.StatusCode)
	}
}

// The largest message passes.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.signIn("laser")
	content := `"` + strings.Repeat("x", httpapi.MaxMessageBody-100) + `"`
	d.do("POST", "/v1/messages", fmt.Sprintf(`{"to":"n1.laser","content":%s}`, content), "X-Session", "x").wantStatus(200)
}
