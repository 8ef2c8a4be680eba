package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"go.uber.org/goleak"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testServer is an API on a real port, and a client of it that holds every answer to
// the contract.
type testServer struct {
	t      *testing.T
	api    *httpapi.API
	fake   *fake
	addr   string
	client *http.Client
	close  func() error
}

func serve(t *testing.T, change ...func(*httpapi.Config)) *testServer {
	t.Helper()
	d := &testServer{t: t, fake: newFake()}
	cfg := httpapi.Config{Control: d.fake, Config: rest.Config{KeepAlive: 50 * time.Millisecond}}
	for _, c := range change {
		c(&cfg)
	}
	api, err := httpapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- api.Serve(l) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	d.api, d.addr, d.client = api, l.Addr().String(), &http.Client{Transport: transport, Timeout: 2 * time.Minute} // a busy machine under the race detector is slow
	d.close = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return errors.Join(api.Close(ctx), <-served)
	})
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := d.close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	return d
}

type answer struct {
	t       *testing.T
	status  int
	header  http.Header
	body    string
	request string // for failures
}

// ask sends one request; headers are name, value, name, value.
func (d *testServer) do(method, path, body string, headers ...string) answer {
	d.t.Helper()
	req := d.request(method, path, body, headers...)
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	a := answer{t: d.t, status: res.StatusCode, header: res.Header, body: string(b), request: method + " " + path + " " + body}
	if len(a.request) > 200 {
		a.request = a.request[:200] + "..."
	}
	checkContract(d.t, req, a)
	return a
}

func (d *testServer) request(method, path, body string, headers ...string) *http.Request {
	d.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, "http://"+d.addr+path, r)
	if err != nil {
		d.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	return req
}

func (d *testServer) signIn(name string) wire.SignedIn {
	d.t.Helper()
	var in wire.SignedIn
	d.do("POST", "/v1/components", `{"name":"`+name+`"}`).wantStatus(201).decode(&in)
	return in
}

func (a answer) wantStatus(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got %d %s, want %d", a.request, a.status, a.body, status)
	}
	return a
}

func (a answer) decode(v any) answer {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.t.Fatalf("%s: answer %q: %v", a.request, a.body, err)
	}
	return a
}

type problem struct {
	wire.Problem
	Outcome string `json:"outcome"`
}

// refused checks the problem of a refusal and returns it.
func (a answer) wantProblem(status int, code wire.Code, field string) problem {
	a.t.Helper()
	a.wantStatus(status)
	var p problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Fatalf("%s: type %q of a problem: %s", a.request, got, a.body)
	}
	a.decode(&p)
	if p.Code != code || p.Field != field || p.Status != status || p.Detail == "" || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		a.t.Errorf("%s: got %s, want code %s field %q status %d with detail and request_id", a.request, a.body, code, field, status)
	}
	return p
}

var contract = sync.OnceValues(func() (routers.Router, error) {
	_, doc, err := loadContract()
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"text/event-stream", "application/x-ndjson"} {
		openapi3filter.RegisterBodyDecoder(kind, func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
			b, err := io.ReadAll(body)
			return string(b), err
		})
	}
	return legacy.NewRouter(doc)
})

// checkContract compares an answer with the contract; paths outside of /v1 are not
// in it.
func checkContract(t *testing.T, req *http.Request, a answer) {
	t.Helper()
	router, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	here := req.Clone(context.Background())
	here.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery} // as the contract's server is written
	if req.Method == http.MethodHead {
		here.Method = http.MethodGet // which the contract has
	}
	found, params, err := router.FindRoute(here)
	if err != nil {
		if a.status != 404 && a.status != 405 && a.status != 401 && a.status != 403 && a.status != 204 {
			t.Errorf("%s: answered %d and is not in the contract", a.request, a.status)
		}
		return
	}
	if req.Method == http.MethodHead {
		return
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: here, PathParams: params, Route: found},
		Status:                 a.status, Header: a.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes([]byte(a.body))
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		why := err.Error()
		t.Errorf("%s: the answer %d %.300s does not fit the contract: %.300s", a.request, a.status, a.body, why)
	}
}

// reader reads a stream.
type reader struct {
	t     *testing.T
	res   *http.Response
	lines *bufio.Scanner
}

func (d *testServer) stream(path string, headers ...string) *reader {
	d.t.Helper()
	req := d.request("GET", path, "", headers...)
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		d.t.Fatalf("GET %s: got %d %s, want a stream", path, res.StatusCode, b)
	}
	checkContract(d.t, req, answer{t: d.t, status: 200, header: res.Header, request: "GET " + path, body: "a stream"})
	return &reader{d.t, res, bufio.NewScanner(res.Body)}
}

type event struct{ id, name, data string }

// event reads the next event; comments are left out.
func (r *reader) event() event {
	r.t.Helper()
	var e event
	for r.lines.Scan() {
		field, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.data != "" {
				return e
			}
		}
	}
	r.t.Fatalf("the stream ended (%v), want an event", r.lines.Err())
	return e
}

// until reads lines up to one that is want.
func (r *reader) until(want string) {
	r.t.Helper()
	for r.lines.Scan() {
		if r.lines.Text() == want {
			return
		}
	}
	r.t.Fatalf("the stream ended (%v) without %q", r.lines.Err(), want)
}

// rest reads to the end.
func (r *reader) rest() string {
	var b strings.Builder
	for r.lines.Scan() {
		b.WriteString(r.lines.Text() + "\n")
	}
	return b.String()
}
