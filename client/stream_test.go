package client_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// Events go on at the next coordinator behind the last one told, when a stream breaks in the middle of an event.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	first, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "retry: 1000\n\n: hello\n\nid: 5-0\nevent: component\ndata: {\"index\":5,\"kind\":\"signed_in\"}\n\n")
		fmt.Fprint(w, "id: 6-0\nevent: component\ndata: {\"index\":6,\"ki")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	var resumed, topic string
	second, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		resumed, topic = r.Header.Get("Last-Event-ID"), r.URL.Query().Get("topic")
		fmt.Fprint(w, "id: 9-9\nevent: lagged\ndata: {\"index\":9}\n\nid: 10-0\ndata: {\"index\":10,\r\ndata: \"kind\":\"expired\"}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := dial(t, client.Config{Addrs: []string{first.URL, second.URL}})
	var got []string
	for e, err := range c.Events(t.Context(), client.Events{Topics: []string{"component", "job"}, Index: 4}) {
		if err != nil {
			t.Fatalf("events after %v: %v", got, err)
		}
		if got = append(got, fmt.Sprint(e.Index, " ", e.Kind)); len(got) == 3 {
			break
		}
	}
	if diff := cmp.Diff([]string{"5 signed_in", "9 lagged", "10 expired"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if resumed != "5-0" || topic != "component,job" {
		t.Errorf("resumed with Last-Event-ID %q and topic %q, want 5-0 and component,job", resumed, topic)
	}
}

// A reader whose stream breaks before any news goes on from where the stream began, not from now.
func TestEventsResumeBeforeAnyEvent(t *testing.T) {
	t.Parallel()
	first, _ := coordinator(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "retry: 1000\n\nid: 5.2@c1\n\n: hello\n\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	var resumed string
	second, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		resumed = r.Header.Get("Last-Event-ID")
		fmt.Fprint(w, "id: 5.2@c1\n\nid: 6.0@c1\ndata: {\"index\":6,\"kind\":\"expired\"}\n\n")
	})
	c := dial(t, client.Config{Addrs: []string{first.URL, second.URL}})
	for e, err := range c.Events(t.Context(), client.Events{}) {
		if err != nil || e.Index != 6 {
			t.Errorf("got %+v, %v; want the event at 6", e, err)
		}
		break
	}
	if resumed != "5.2@c1" {
		t.Errorf("resumed with Last-Event-ID %q, want 5.2@c1", resumed)
	}
}

// A stream that ends with a refusal ends with it; one that ends with "unavailable" is asked elsewhere.
func TestStreamEndsWithAnError(t *testing.T) {
	t.Parallel()
	n := 0
	s, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			fmt.Fprint(w, "event: error\ndata: {\"code\":\"unavailable\",\"detail\":\"no leader\"}\n\n")
			return
		}
		fmt.Fprint(w, "event: error\ndata: {\"code\":\"forbidden\",\"detail\":\"removed by an operator: spare\"}\n\n")
	})
	c := dial(t, client.Config{Addrs: []string{s.URL}})
	var last error
	for _, err := range c.Inbox(t.Context(), "n1.x", "secret") {
		last = err
	}
	wantCode(t, last, wire.CodeForbidden, "inbox of a removed session")
	if n != 2 {
		t.Errorf("opened %d times, want twice: after unavailable once more", n)
	}
}

// A followed stream of results that breaks is taken up elsewhere, and no part is told twice.
func TestResultsFollow(t *testing.T) {
	t.Parallel()
	first, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "follow=1&order=done" {
			refuse(w, 400, wire.CodeInvalid, r.URL.RawQuery)
			return
		}
		fmt.Fprint(w, `{"part":2,"state":"done","attempt":1,"result":4}`+"\n\n"+`{"part":0,"state":"done","attempt":1,"result":1}`+"\n"+`{"part":1,"st`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	second, asked := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/jobs/j1" {
			say(w, 200, wire.Job{ID: "j1", State: "done"})
			return
		}
		for _, p := range []int{2, 0, 1} {
			fmt.Fprintf(w, `{"part":%d,"state":"done","attempt":1}`+"\n", p)
		}
	})
	c := dial(t, client.Config{Addrs: []string{first.URL, second.URL}})
	var got []int
	for r, err := range c.Results(t.Context(), "j1", true) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Part)
	}
	if diff := cmp.Diff([]int{2, 0, 1}, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	if asked.times() != 2 {
		t.Errorf("the second was asked %v, want the results and whether the job has ended", asked.asked)
	}
}

// A coordinator that shuts down ends its streams cleanly: a running job's results go on elsewhere.
func TestResultsFollowOverAShutdown(t *testing.T) {
	t.Parallel()
	streams := 0
	s, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/jobs/j1" {
			state := "running"
			if streams > 1 {
				state = "failed"
			}
			say(w, 200, wire.Job{ID: "j1", State: state})
			return
		}
		fmt.Fprintf(w, `{"part":%d,"state":"done"}`+"\n", streams)
		streams++
	})
	c := dial(t, client.Config{Addrs: []string{s.URL}})
	var got []int
	for r, err := range c.Results(t.Context(), "j1", true) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Part)
	}
	if diff := cmp.Diff([]int{0, 1}, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// Logs told again after a broken stream are not told twice.
func TestLogsAreYieldedOnce(t *testing.T) {
	t.Parallel()
	n := 0
	s, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/jobs/j1" {
			say(w, 200, wire.Job{ID: "j1", State: "done"})
			return
		}
		n++
		fmt.Fprintf(w, "event: log\ndata: %s\n\n", jsonOf(t, client.LogChunk{Part: 1, Attempt: 1, Data: []byte("hel")}))
		w.(http.Flusher).Flush()
		if n == 1 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "event: log\ndata: %s\n\n", jsonOf(t, client.LogChunk{Part: 1, Attempt: 1, Offset: 2, Data: []byte("llo\n")}))
		fmt.Fprintf(w, "event: log\ndata: %s\n\n", jsonOf(t, client.LogChunk{Part: 1, Attempt: 1, Offset: 6, Data: []byte("bye\n"), Next: 10}))
		fmt.Fprintf(w, "event: log\ndata: %s\n\n", jsonOf(t, client.LogChunk{Part: 1, Attempt: 1, Offset: 10, Data: []byte("[cut]\n"), Next: 500, Cut: true}))
		fmt.Fprintf(w, "event: log\ndata: %s\n\n", jsonOf(t, client.LogChunk{Part: 1, Attempt: 1, Offset: 10, Data: []byte("[cut]\n"), Next: 500, Cut: true}))
		fmt.Fprintf(w, "event: log\ndata: %s\n\n", jsonOf(t, client.LogChunk{Part: 1, Attempt: 1, Offset: 500, Data: []byte("end\n"), Next: 504, End: true}))
	})
	c := dial(t, client.Config{Addrs: []string{s.URL}})
	var got string
	for chunk, err := range c.Logs(t.Context(), "j1", -1, true) {
		if err != nil {
			t.Fatal(err)
		}
		got += string(chunk.Data)
	}
	if want := "hello\nbye\n[cut]\nend\n"; got != want {
		t.Errorf("log: got %q, want %q", got, want)
	}
}
