package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Every send has one outcome, and each failure its own status.
func TestOutcomesOfASend(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	laser, camera := c.signIn(c.nodes[0], "laser", 10*time.Minute), c.signIn(c.nodes[1], "camera", 10*time.Minute)
	ended := c.signIn(c.nodes[2], "ended", 10*time.Minute)
	if a := c.nodes[2].ask("DELETE", "/v1/components/n3.ended", "", "X-Session", ended.Secret); a.status != 200 {
		t.Fatalf("sign out: %d %s", a.status, a.body)
	}
	say := func(at *process, secret, body string) (answer, string) {
		a := at.ask("POST", "/v1/messages", body, "X-Session", secret)
		var o struct{ Outcome string }
		_ = json.Unmarshal([]byte(a.body), &o)
		return a, o.Outcome
	}
	for what, s := range map[string]struct {
		secret, body string
		status       int
		code         wire.Code
		outcome      string
	}{
		"to another coordinator":    {laser.Secret, `{"to":"n2.camera","content":1}`, 200, "", "delivered"},
		"with the own name":         {laser.Secret, `{"to":"n2.camera","from":"n1.laser","content":1}`, 200, "", "delivered"},
		"nobody of that name":       {laser.Secret, `{"to":"n2.nobody","content":1}`, 404, wire.CodeNotFound, "receiver_unknown"},
		"no such namespace":         {laser.Secret, `{"to":"n9.camera","content":1}`, 404, wire.CodeNotFound, "receiver_unknown"},
		"in somebody's name":        {laser.Secret, `{"to":"n2.camera","from":"n2.admin","content":1}`, 403, wire.CodeForbidden, "refused"},
		"as a coordinator":          {laser.Secret, `{"to":"n2.camera","from":"n1.COORDINATOR","content":1}`, 403, wire.CodeForbidden, "refused"},
		"without a session":         {"", `{"to":"n2.camera","content":1}`, 401, wire.CodeUnauthorized, "refused"},
		"with a made-up secret":     {"c2VjcmV0", `{"to":"n2.camera","content":1}`, 401, wire.CodeUnauthorized, "refused"},
		"with half a secret":        {laser.Secret[:len(laser.Secret)-2], `{"to":"n2.camera","content":1}`, 401, wire.CodeUnauthorized, "refused"},
		"after it signed out":       {ended.Secret, `{"to":"n2.camera","content":1}`, 404, wire.CodeNotFound, "refused"},
		"without a receiver":        {laser.Secret, `{"content":1}`, 400, wire.CodeInvalid, "refused"},
		"to a name with two dots":   {laser.Secret, `{"to":"n2.cam.era","content":1}`, 400, wire.CodeInvalid, "refused"},
		"with nothing to say":       {laser.Secret, `{"to":"n2.camera"}`, 400, wire.CodeInvalid, "refused"},
		"with a wrong conversation": {laser.Secret, `{"to":"n2.camera","conversation_id":"x","content":1}`, 400, wire.CodeInvalid, "refused"},
	} {
		for _, at := range c.nodes {
			a, outcome := say(at, s.secret, s.body)
			var p wire.Problem
			_ = json.Unmarshal([]byte(a.body), &p)
			if a.status != s.status || p.Code != s.code || outcome != s.outcome {
				t.Errorf("%s, at %s: %d %s %q, want %d %s %q\n%s", what, at.name, a.status, p.Code, outcome, s.status, s.code, s.outcome, a.body)
			}
		}
	}

	// An inbox opens to its own secret only.
	for secret, status := range map[string]int{laser.Secret: 403, "": 401, "c2VjcmV0": 403, camera.Secret: 200} {
		if a := c.nodes[2].ask("GET", "/v1/components/n2.camera/messages?wait=0s", "", "X-Session", secret, "Accept", "application/json"); a.status != status {
			t.Errorf("the inbox with secret %q: %d %s, want %d", secret, a.status, a.body, status)
		}
	}
	if a := c.nodes[2].ask("PUT", "/v1/components/n2.camera/heartbeat", "", "X-Session", laser.Secret); a.status != 403 {
		t.Errorf("a heartbeat for somebody else: %d %s", a.status, a.body)
	}
	if a := c.nodes[2].ask("DELETE", "/v1/components/n2.camera", "", "X-Session", laser.Secret); a.status != 403 {
		t.Errorf("signing somebody else out: %d %s", a.status, a.body)
	}
	c.has(camera.FullName, "n2")
	c.agree()
}

// A mailbox takes so many messages and no more; the sender hears that it is
// full, and once its owner has read, there is room again.
func TestAFullMailboxSaysBusy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	laser, camera := c.signIn(c.nodes[0], "laser", 10*time.Minute), c.signIn(c.nodes[1], "camera", 10*time.Minute)
	api := c.nodes[0].api()
	var mu sync.Mutex
	delivered, busy := 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 150 {
				_, _, err := api.Send(t.Context(), laser.Secret, wire.SendMessage{To: camera.FullName, Content: []byte(`"tick"`)}, "")
				mu.Lock()
				switch {
				case err == nil:
					delivered++
				case wire.CodeOf(err) == wire.CodeBusy:
					busy++
				default:
					t.Errorf("got %v, want delivered or busy", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if delivered != 1000 || busy != 200 {
		t.Errorf("%d delivered and %d busy, want 1000 and 200", delivered, busy)
	}
	read, after := 0, uint64(0)
	for read < delivered {
		in, _, err := c.nodes[1].api().Poll(t.Context(), camera.FullName, camera.Secret, after, 5*time.Second)
		if err != nil || len(in.Messages) == 0 {
			t.Fatalf("after %d messages: %v", read, err)
		}
		read += len(in.Messages)
		after = in.Messages[len(in.Messages)-1].Seq
	}
	if in, _, err := c.nodes[1].api().Poll(t.Context(), camera.FullName, camera.Secret, after, time.Millisecond); err != nil || len(in.Messages) != 0 {
		t.Errorf("when all is read: %d messages, %v", len(in.Messages), err)
	}
	if _, _, err := api.Send(t.Context(), laser.Secret, wire.SendMessage{To: camera.FullName, Content: []byte(`"room"`)}, ""); err != nil {
		t.Errorf("into an empty mailbox: %v", err)
	}
	c.agree()
}

// Mail that was delivered but never read comes back to its senders as a
// report when the receiver signs out.
func TestUnreadMailIsReported(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	camera := c.signIn(c.nodes[2], "camera", 10*time.Minute)
	senders := []wire.SignedIn{c.signIn(c.nodes[0], "laser", 10*time.Minute), c.signIn(c.nodes[1], "stage", 10*time.Minute)}
	conversations := map[string]string{}
	for i, s := range senders {
		sent, _, err := c.nodes[i].api().Send(t.Context(), s.Secret, wire.SendMessage{To: camera.FullName, Content: []byte(`1`)}, "")
		if err != nil {
			t.Fatal(err)
		}
		conversations[s.FullName] = sent.ConversationID
	}
	if _, err := c.nodes[0].api().SignOut(t.Context(), camera.FullName, camera.Secret); err != nil { // not at its home
		t.Fatal(err)
	}
	for i, s := range senders {
		in, _, err := c.nodes[i].api().Poll(t.Context(), s.FullName, s.Secret, 0, patience/2)
		if err != nil || len(in.Messages) != 1 {
			t.Fatalf("%s got %d messages, %v", s.FullName, len(in.Messages), err)
		}
		m := in.Messages[0]
		if m.From != "n3.COORDINATOR" || m.ConversationID != conversations[s.FullName] || !strings.Contains(string(m.Content), `"error"`) || !strings.Contains(string(m.Content), camera.FullName) {
			t.Errorf("%s got %+v %s", s.FullName, m, m.Content)
		}
	}
	if a := c.nodes[2].ask("GET", "/v1/components/n3.camera/messages", "", "X-Session", camera.Secret, "Accept", "application/json"); a.status != 401 && a.status != 404 {
		t.Errorf("the inbox of one who is signed out: %d %s", a.status, a.body)
	}
	c.agree()
}

// A stream of mail that broke goes on where it stopped; a poll acknowledges
// what was read before.
func TestAnInboxResumes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	laser, camera := c.signIn(c.nodes[0], "laser", 10*time.Minute), c.signIn(c.nodes[1], "camera", 10*time.Minute)
	send := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			if _, _, err := c.nodes[0].api().Send(t.Context(), laser.Secret, wire.SendMessage{To: camera.FullName, Content: asJSON(i)}, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1, 5)
	at := c.nodes[2] // not its home: passed on
	if got := c.stream(at, camera, "", 3); fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("the first stream brought %v", got)
	}
	if got := c.stream(c.nodes[1], camera, "2", 3); fmt.Sprint(got) != "[3 4 5]" {
		t.Errorf("the stream from 2 on brought %v", got)
	}
	poll := func(after uint64) (got []string) {
		t.Helper()
		in, _, err := at.api().Poll(t.Context(), camera.FullName, camera.Secret, after, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range in.Messages {
			got = append(got, string(m.Content))
		}
		return got
	}
	if got := poll(2); fmt.Sprint(got) != "[3 4 5]" {
		t.Errorf("polled after 2: %v", got)
	}
	if got := poll(2); fmt.Sprint(got) != "[3 4 5]" {
		t.Errorf("polled after 2 again, since the answer may have been lost: %v", got)
	}
	send(6, 6)
	if got := poll(4); fmt.Sprint(got) != "[5 6]" {
		t.Errorf("polled after 4: %v", got)
	}
	if got := poll(5); fmt.Sprint(got) != "[6]" {
		t.Errorf("polled after 5: %v", got)
	}
	if got := poll(0); fmt.Sprint(got) != "[6]" {
		t.Errorf("polled from the start, of which the poll before acknowledged 5: %v", got)
	}
	// A poll that waits is answered by the next message.
	next := make(chan []string, 1)
	go func() { next <- poll(6) }()
	send(7, 7)
	select {
	case got := <-next:
		if len(got) == 0 {
			got = poll(6) // it came between two polls
		}
		if fmt.Sprint(got) != "[7]" {
			t.Errorf("the waiting poll brought %v", got)
		}
	case <-time.After(patience):
		t.Error("the waiting poll was not answered")
	}
	c.agree()
}

// stream reads the first n messages of an inbox as server-sent events and
// breaks off.
func (c *cluster) stream(at *process, who wire.SignedIn, lastID string, n int) (got []string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, "GET", "http://"+at.http+"/v1/components/"+who.FullName+"/messages", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	rq.Header.Set("X-Session", who.Secret)
	rq.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		rq.Header.Set("Last-Event-ID", lastID)
	}
	rs, err := plain.Do(rq)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rs.Body.Close()
	id := ""
	for in := bufio.NewScanner(rs.Body); len(got) < n && in.Scan(); {
		if s, ok := strings.CutPrefix(in.Text(), "id: "); ok {
			id = s
		}
		if s, ok := strings.CutPrefix(in.Text(), "data: "); ok {
			var m wire.Received
			if err := json.Unmarshal([]byte(s), &m); err != nil || fmt.Sprint(m.Seq) != id {
				c.t.Errorf("event %s: %s (%v)", id, s, err)
			}
			got = append(got, string(m.Content))
		}
	}
	return got
}
