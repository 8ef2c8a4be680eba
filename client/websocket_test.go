package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

// rest runs a cluster of one and returns its REST address.
func rest(t *testing.T) string {
	t.Helper()
	addrs, stop, err := run(node.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addrs.HTTP
}

// A session over the REST port is a session like any other: messages of any size, calls, news, and its end.
func TestSessionOverREST(t *testing.T) {
	c := dial(t, client.Config{Addrs: []string{deadAddr(t), rest(t)}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	laser, err := c.Dial(ctx, client.Component{SignIn: wire.SignIn{Name: "laser"}, Inbox: true, Methods: map[string]client.Method{
		"double": func(_ context.Context, r *client.Request) (any, error) {
			var in struct{ X int }
			err := r.Decode(&in)
			return 2 * in.X, err
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	gui, err := c.Dial(ctx, client.Component{SignIn: wire.SignIn{Name: "gui"}})
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if err := gui.Call(ctx, "laser", "double", map[string]int{"x": 21}, &got); err != nil || got != 42 {
		t.Errorf("twice 21 is %d, %v", got, err)
	}
	for _, size := range []int{1, 200, 60_000, 3 << 20} {
		payload := bytes.Repeat([]byte{byte(size)}, size)
		if err := gui.Send(ctx, wire.Message{To: "n1.laser", Payload: [][]byte{payload}}); err != nil {
			t.Fatalf("send %d bytes: %v", size, err)
		}
		if m := <-laser.Messages(); m.From != "n1.gui" || !bytes.Equal(m.Payload[0], payload) {
			t.Errorf("of %d bytes came %d from %s", size, len(m.Payload[0]), m.From)
		}
	}
	if list, _, err := c.Components(ctx, client.Components{}); err != nil || len(list.Components) != 2 || list.Components[0].Kind != "native" {
		t.Errorf("the directory has %+v, %v", list.Components, err)
	}
	for _, s := range []*client.Session{laser, gui} {
		if err := s.Close(ctx); err != nil {
			t.Errorf("sign out: %v", err)
		}
	}
	if list, _, err := c.Components(ctx, client.Components{}); err != nil || len(list.Components) != 0 {
		t.Errorf("after the end the directory has %+v, %v", list.Components, err)
	}
	if err := c.LastFailure(); err != nil {
		t.Errorf("the last attempt worked, and there is said to be %v", err)
	}
}

// What a session over REST is refused with, and what keeps it from being opened, is what REST says.
func TestSessionOverRESTIsRefused(t *testing.T) {
	secret := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer right" {
			refuse(w, 401, wire.CodeUnauthorized, "this token is not known")
			return
		}
		say(w, 200, "no WebSocket")
	}
	locked, _ := coordinator(t, secret)
	private := httptest.NewTLSServer(http.HandlerFunc(secret))
	t.Cleanup(private.Close)
	for _, tc := range []struct {
		addr, token string
		want        wire.Code
		says        string
	}{
		{locked.URL, "wrong", wire.CodeUnauthorized, "this token is not known"},
		{locked.URL, "right", wire.CodeUnavailable, "opens no WebSocket"},
		{private.URL, "right", wire.CodeUnavailable, "certificate"},
		{deadAddr(t), "right", wire.CodeUnavailable, "connection refused"},
	} {
		c := dial(t, client.Config{Addrs: []string{tc.addr}, Token: tc.token, TLS: &tls.Config{}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := c.Dial(ctx, client.Component{SignIn: wire.SignIn{Name: "laser"}})
		cancel()
		wantCode(t, err, tc.want, tc.addr)
		if last := c.LastFailure(); !strings.Contains(err.Error(), tc.says) || last == nil || !strings.Contains(last.Error(), tc.says) {
			t.Errorf("%s: %v, and the last failure is %v, want %q in both", tc.addr, err, last, tc.says)
		}
	}
	// What cut the last attempt off is the caller's time alone: the failure before says why.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int32
	busy, _ := coordinator(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			refuse(w, 503, wire.CodeUnavailable, "no leader is known")
			return
		}
		cancel()
		<-r.Context().Done()
	})
	c := dial(t, client.Config{Addrs: []string{busy.URL}})
	_, err := c.Dial(ctx, client.Component{SignIn: wire.SignIn{Name: "laser"}})
	if last := c.LastFailure(); err == nil || last == nil || !strings.Contains(last.Error(), "no leader is known") {
		t.Errorf("cut off: %v, and the last failure is %v, want the one before", err, last)
	}
	c = dial(t, client.Config{})
	if _, err := c.Dial(t.Context(), client.Component{Addrs: []string{"n1:7370"}}); wire.CodeOf(err) != wire.CodeInvalid {
		t.Errorf("with addresses of its own: %v, want invalid", err)
	}
}
