package httpapi_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/httpapi"
	"github.com/folkmoot/folkmoot/httpapi/rest"
	"github.com/folkmoot/folkmoot/wire"
)

// The feed is streamed from now on, from an index on, or from where a reader left
// off; its ids are places in the feed.
func TestEvents(t *testing.T) {
	t.Parallel()
	d := serve(t)
	now := d.stream("/v1/events")
	now.until(": still here") // the cursor is placed
	d.signIn("a")
	d.signIn("b")
	e := now.event()
	var news wire.Event
	if err := json.Unmarshal([]byte(e.data), &news); err != nil {
		t.Fatal(err)
	}
	if e.id != "8.0@c1" || e.name != "component" || news.Kind != "signed_in" || news.Key != "n1.a" || news.Index != 8 || news.Data == nil {
		t.Errorf("first event: %+v", e)
	}
	if e := now.event(); e.id != "9.0@c1" {
		t.Errorf("second event: %+v", e)
	}
	if e := d.stream("/v1/events", "Last-Event-ID", "8.0").event(); e.id != "9.0@c1" {
		t.Errorf("after 8.0: got %+v, want 9.0", e)
	}
	if e := d.stream("/v1/events?index=0", "Last-Event-ID", "8.0").event(); e.id != "9.0@c1" {
		t.Errorf("Last-Event-ID and index: got %+v, want 9.0", e)
	}
	if e := d.stream("/v1/events?index=7&topic=job,component").event(); e.id != "8.0@c1" {
		t.Errorf("from index 7: got %+v, want 8.0", e)
	}
	d.do("GET", "/v1/events?topic=gossip", "").wantProblem(400, wire.CodeInvalid, "topic")
	d.do("GET", "/v1/events?index=x", "").wantProblem(400, wire.CodeInvalid, "index")
	d.do("GET", "/v1/events", "", "Last-Event-ID", "yesterday").wantProblem(400, wire.CodeInvalid, "Last-Event-ID")
}

// A stream begins with the place it begins at, which names the cluster, so that
// a reader that lost it before any news goes on from there.
func TestEventsBeginWithTheirPosition(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.stream("/v1/events?index=3&cluster=c0").until("id: 3@c0")
	d.stream("/v1/events", "Last-Event-ID", "5.1").until("id: 5.1")
	d.stream("/v1/events").until("id: 7.1073741824@c1")
	d.do("GET", "/v1/events?index=3&cluster=a%20b", "").wantProblem(400, wire.CodeInvalid, "cluster")
	d.do("GET", "/v1/components?index=3&cluster=c0", "").wantStatus(200)
	if got := d.fake.lastRead; got.Index != 3 || got.Cluster != "c0" {
		t.Errorf("read as %+v, want index 3 of cluster c0", got)
	}
	if got := d.do("GET", "/v1/status", "").wantStatus(200).header.Get("X-Cluster"); got != "c1" {
		t.Errorf("X-Cluster is %q, want c1", got)
	}
}

// A reader that fell behind gets an event "lagged" and goes on.
func TestEventsLagged(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.fake.lag = true
	s := d.stream("/v1/events?index=1")
	if e := s.event(); e.name != "lagged" || !strings.Contains(e.data, `"kind":"lagged"`) || e.id != "1" {
		t.Errorf("got %+v, want lagged", e)
	}
	d.signIn("a")
	if e := s.event(); e.id != "8.0@c1" {
		t.Errorf("after lagged: got %+v", e)
	}
}

// Closing the door ends streams with a last word, blocking reads with
// unavailable, and refuses new ones.
func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	d := serve(t)
	s := d.stream("/v1/events")
	s.until(": still here")
	waiting := make(chan answer)
	d.signIn("a")
	go func() { waiting <- d.do("GET", "/v1/components?index=8&wait=10m", "") }()
	gauge(t, d.api, "folkmoot_http_streams", 2)
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if rest := s.rest(); !strings.Contains(rest, ": this coordinator is closing\nretry: 200\n") {
		t.Errorf("last words: %q", rest)
	}
	a := <-waiting
	a.wantProblem(503, wire.CodeUnavailable, "")
}

// An inbox streams what is there and what comes; a reader that comes back goes
// on behind the last it has.
func TestInboxStream(t *testing.T) {
	t.Parallel()
	d := serve(t)
	me := d.signIn("laser")
	path := "/v1/components/n1.laser/messages"
	d.do("GET", path, "").wantProblem(401, wire.CodeUnauthorized, "")
	d.do("GET", path, "", "X-Session", "wrong").wantProblem(403, wire.CodeForbidden, "")
	send := func(text string) {
		t.Helper()
		d.do("POST", "/v1/messages", `{"to":"n1.laser","content":"`+text+`","payload":["AAEC"]}`, "X-Session", "any").wantStatus(200)
	}
	send("one")
	s := d.stream(path, "X-Session", me.Secret, "Accept", "text/event-stream")
	if e := s.event(); e.id != "1" || e.name != "message" || !strings.Contains(e.data, `"content":"one"`) {
		t.Errorf("got %+v, want message 1", e)
	}
	send("two")
	if e := s.event(); e.id != "2" {
		t.Errorf("got %+v, want message 2", e)
	}
	if e := d.stream(path, "X-Session", me.Secret, "Last-Event-ID", "1").event(); e.id != "2" {
		t.Errorf("after 1: got %+v, want message 2", e)
	}
	d.fake.change(func() { d.fake.mail["n1.laser"] = d.fake.mail["n1.laser"][1:] })
	send("again two")
	d.fake.change(func() { m := d.fake.mail["n1.laser"]; m[len(m)-1].Seq = 5 })
	late := d.stream(path+"?after=2", "X-Session", me.Secret)
	if e := late.event(); e.name != "gap" || e.data != `{"after":2,"next":5}` {
		t.Errorf("got %+v, want a gap", e)
	}
	d.do("DELETE", "/v1/components/n1.laser", "").wantStatus(200)
	e := late.event() // message 5
	for e.name == "message" {
		e = late.event()
	}
	if e.name != "error" || !strings.Contains(e.data, `"code":"not_found"`) {
		t.Errorf("got %+v, want the error that ends the stream", e)
	}
}

// An inbox is polled by JSON; the poll waits and acknowledges by after.
func TestInboxPoll(t *testing.T) {
	t.Parallel()
	d := serve(t)
	me := d.signIn("laser")
	poll := func(query string) wire.Inbox {
		t.Helper()
		var in wire.Inbox
		a := d.do("GET", "/v1/components/n1.laser/messages"+query, "", "X-Session", me.Secret, "Accept", "application/json").wantStatus(200).decode(&in)
		if in.Messages == nil {
			t.Errorf("%s: no list in %s", query, a.body)
		}
		return in
	}
	if got := poll("?wait=1ms"); len(got.Messages) != 0 {
		t.Errorf("an empty inbox has %v", got)
	}
	got := make(chan wire.Inbox)
	go func() { got <- poll("?wait=1m") }()
	gauge(t, d.api, "folkmoot_http_streams", 1)
	for range 3 {
		d.do("POST", "/v1/messages", `{"to":"n1.laser","content":{"a":[1]}}`, "X-Session", "any").wantStatus(200)
	}
	if in := <-got; len(in.Messages) == 0 || in.Messages[0].Seq != 1 || string(in.Messages[0].Content) != `{"a":[1]}` {
		t.Errorf("polled %+v", in)
	}
	if in := poll("?after=1&limit=1"); len(in.Messages) != 1 || in.Messages[0].Seq != 2 {
		t.Errorf("after 1: %+v", in)
	}
	d.do("GET", "/v1/components/n1.laser/messages?limit=1001", "", "X-Session", me.Secret).wantProblem(400, wire.CodeInvalid, "limit")
}

// A send that fails tells its outcome beside the code.
func TestSendOutcomes(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.signIn("laser")
	var sent wire.Sent
	d.do("POST", "/v1/messages", `{"to":"n1.laser","content":1}`, "X-Session", "x").wantStatus(200).decode(&sent)
	if sent.Outcome != "delivered" || sent.ConversationID == "" {
		t.Errorf("sent %+v", sent)
	}
	if p := d.do("POST", "/v1/messages", `{"to":"n1.nobody","content":1}`).wantProblem(404, wire.CodeNotFound, ""); p.Outcome != "receiver_unknown" {
		t.Errorf("outcome %q", p.Outcome)
	}
	d.fake.refusal = &wire.Error{Code: wire.CodeNotFound, Message: "it ended", Field: "session"}
	if p := d.do("POST", "/v1/messages", `{"to":"n1.laser","content":1}`).wantProblem(404, wire.CodeNotFound, "session"); p.Outcome != "refused" {
		t.Errorf("from a session that ended: outcome %q", p.Outcome)
	}
	for code, want := range map[wire.Code]string{wire.CodeBusy: "refused", wire.CodeForbidden: "refused", wire.CodeTooLarge: "refused", wire.CodeUnavailable: "refused", wire.CodeUnknown: "unknown"} {
		d.fake.refusal = wire.Refuse(code, "because")
		if p := d.do("POST", "/v1/messages", `{"to":"n1.laser","content":1}`).wantProblem(rest.Status(code), code, ""); p.Outcome != want {
			t.Errorf("%s: outcome %q, want %q", code, p.Outcome, want)
		}
	}
}

// Results are lines as they come; with follow until the job has ended.
func TestResults(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1,2]}`).wantStatus(202)
	d.fake.change(func() {
		d.fake.results = append(d.fake.results, wire.PartResult{Part: 0, State: "done", Attempt: 1, Result: json.RawMessage(`{"a":"<b>"}`)})
	})
	a := d.do("GET", "/v1/jobs/j1/results?order=done", "").wantStatus(200)
	if want := `{"part":0,"state":"done","attempt":1,"worker":"ended","result":{"a":"<b>"}}` + "\n"; a.body != want {
		t.Errorf("got %q, want %q", a.body, want)
	}
	s := d.stream("/v1/jobs/j1/results?follow=1&order=part")
	s.until(`{"part":0,"state":"done","attempt":1,"worker":"part","result":{"a":"<b>"}}`)
	s.until("") // nothing for a while keeps it alive
	d.fake.change(func() {
		d.fake.results = append(d.fake.results, wire.PartResult{Part: 1, State: "failed", Attempt: 3, Error: "exit 1"})
	})
	s.until(`{"part":1,"state":"failed","attempt":3,"worker":"part","error":"exit 1"}`)
	d.fake.change(func() { j := d.fake.jobs["j1"]; j.State = "done"; d.fake.jobs["j1"] = j })
	if rest := strings.TrimLeft(s.rest(), "\n"); rest != "" {
		t.Errorf("behind the last result: %q", rest)
	}
	d.do("GET", "/v1/jobs/j2/results", "").wantProblem(404, wire.CodeNotFound, "")
	d.do("GET", "/v1/jobs/j1/results?order=random", "").wantProblem(400, wire.CodeInvalid, "order")
	d.do("GET", "/v1/jobs/j1/results?follow=perhaps", "").wantProblem(400, wire.CodeInvalid, "follow")
}

// A stream of results that cannot go on says why in its last line.
func TestResultsOfAForgottenJob(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	s := d.stream("/v1/jobs/j1/results?follow=1")
	s.until("")
	d.fake.change(func() { delete(d.fake.jobs, "j1") })
	var p wire.Problem
	last := strings.TrimSpace(s.rest())
	if err := json.Unmarshal([]byte(last), &p); err != nil || p.Code != wire.CodeNotFound {
		t.Errorf("last line %q, want a problem", last)
	}
}

// Logs are events, of all parts, one part or one try.
func TestLogs(t *testing.T) {
	t.Parallel()
	d := serve(t)
	all := d.stream("/v1/jobs/j1/logs?follow=1")
	for part := range 3 {
		var c struct {
			Part int
			Data []byte
		}
		e := all.event()
		if err := json.Unmarshal([]byte(e.data), &c); err != nil || e.name != "log" || c.Part != part || string(c.Data) != "line\n" {
			t.Errorf("log %d: %+v %v", part, e, err)
		}
	}
	if rest := all.rest(); rest != "" {
		t.Errorf("behind the last log: %q", rest)
	}
	if e := d.stream("/v1/jobs/j1/logs?part=2").event(); !strings.Contains(e.data, `"part":2`) {
		t.Errorf("part 2: %+v", e)
	}
	if e := d.stream("/v1/jobs/j1/logs?part=0&offset=4").event(); !strings.Contains(e.data, `"data":"dHdvCg=="`) {
		t.Errorf("from offset 4: %+v", e)
	}
	for path, want := range map[string]string{
		"": "0| line\n1| line\n2| line\n", "?part=1": "line\n", "?part=0&offset=4": "two\n", "?follow=1": "0| line\n1| line\n2| line\n",
	} {
		a := d.do("GET", "/v1/jobs/j1/logs"+path, "", "Accept", "text/plain").wantStatus(200)
		if kind := a.header.Get("Content-Type"); a.body != want || !strings.HasPrefix(kind, "text/plain") {
			t.Errorf("logs%s as text: got %q as %s, want %q", path, a.body, kind, want)
		}
	}
	d.do("GET", "/v1/jobs/j1/logs?part=-1", "").wantProblem(400, wire.CodeInvalid, "part")
	d.do("GET", "/v1/jobs/j1/logs?attempt=1", "").wantProblem(400, wire.CodeInvalid, "attempt")
}

// A read with index and wait answers when there is something newer.
func TestBlockingRead(t *testing.T) {
	t.Parallel()
	d := serve(t)
	got := make(chan answer)
	go func() { got <- d.do("GET", "/v1/components?index=7&wait=1m", "") }()
	gauge(t, d.api, "folkmoot_http_streams", 1)
	d.signIn("laser")
	var list wire.Components
	(<-got).wantStatus(200).decode(&list)
	if len(list.Components) != 1 {
		t.Errorf("woken with %+v", list)
	}
	if a := d.do("GET", "/v1/components?index=8&wait=5ms", "").wantStatus(200); a.header.Get("X-Index") != "8" {
		t.Errorf("nothing newer: X-Index %s", a.header.Get("X-Index"))
	}
	d.do("GET", "/v1/components?wait=9999h", "").wantStatus(200)
	if d.fake.lastRead.Wait != 10*time.Minute {
		t.Errorf("wait is %v, want it capped at 10m", d.fake.lastRead.Wait)
	}
}

// A stream that has an end and was cut off by closing the door does not look
// whole.
func TestCloseAbortsResults(t *testing.T) {
	t.Parallel()
	d := serve(t)
	d.do("POST", "/v1/jobs", `{"id":"j1","runtime":"sh","script":"true","items":[1]}`).wantStatus(202)
	s := d.stream("/v1/jobs/j1/results?follow=1")
	s.until("")
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	s.rest()
	if err := s.lines.Err(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// What waits may take longer than a request may take to come in or an answer to
// go out.
func TestWaitingOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	d := serve(t, func(c *httpapi.Config) {
		c.ReadTimeout, c.WriteTimeout = time.Second, time.Second // also what a busy machine may take to answer
	})
	const wait = 1500 * time.Millisecond
	start := time.Now()
	d.do("GET", "/v1/components?index=7&wait="+wait.String(), "").wantStatus(200)
	if took := time.Since(start); took < wait {
		t.Errorf("nothing newer after %v, want %v", took, wait)
	}
	s := d.stream("/v1/events")
	for start = time.Now(); time.Since(start) < wait; {
		s.until(": still here")
	}
}
