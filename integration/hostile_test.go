package integration_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/wire"
)

// Whatever is thrown at a coordinator's doors, the same process goes on, in
// bounds, and the cluster's state is the same everywhere.
func TestStormHostileCallers(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	// The timeouts are long: a leader that is lost here is lost by what is thrown,
	// not by a machine that is busy.
	c := newCluster(t, 3, steadyLeader...)
	leco := ports(t, 1)[0]
	c.nodes[0].args = append(c.nodes[0].args, "--leco-addr", leco)
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	var before []use
	for _, p := range c.nodes {
		before = append(before, p.use())
	}
	t.Run("names, leases and bodies", func(t *testing.T) { badSignIns(t, c.in(t).nodes[0]) })
	t.Run("paths, headers and methods", func(t *testing.T) { badRequests(t, c.in(t).nodes[1]) })
	t.Run("garbage on the peer port", func(t *testing.T) { garbage(t, c.in(t)) })
	t.Run("silent connections on every port", func(t *testing.T) { silence(t, c.in(t), leco) })

	in := c.signIn(c.nodes[2], "laser", 10*time.Minute)
	c.has(in.FullName, "n3")
	for i, p := range c.nodes {
		if !p.running() {
			t.Fatalf("%s has ended", p.name)
		}
		api := p.api()
		eventually(t, p.name+" to be as before", func(ctx ctx) error {
			st, _, err := api.Status(ctx)
			if err != nil {
				return err
			}
			if st.ProcessID != p.cmd.Process.Pid {
				t.Fatalf("%s is another process", p.name)
			}
			now := p.use()
			if now.files > before[i].files+25 || now.heap > 2*maxHeap { // the collector may not have run since 10,000 connections were there
				return fmt.Errorf("it holds %d files (%d before) and %d MB", now.files, before[i].files, now.heap>>20)
			}
			return nil
		})
		t.Logf("%s: %d MB, %d files; before %d MB, %d files", p.name, p.use().heap>>20, p.use().files, before[i].heap>>20, before[i].files)
	}
	c.waitHealthy(3)
	c.agree()
}

// use is what a process takes of the machine.
type use struct {
	heap       int // bytes
	files      int
	goroutines int
}

func (p *process) use() (u use) {
	p.t.Helper()
	// Not the resident memory: the race detector has its own beside the heap.
	heap, err := p.metric(p.t.Context(), "go_memstats_heap_inuse_bytes")
	if err != nil || heap == 0 {
		p.t.Fatalf("the heap of %s is %v, %v", p.name, heap, err)
	}
	u.heap = int(heap)
	goroutines, err := p.metric(p.t.Context(), "go_goroutines")
	if err != nil || goroutines == 0 {
		p.t.Fatalf("the goroutines of %s are %v, %v", p.name, goroutines, err)
	}
	u.goroutines = int(goroutines)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	u.files = len(fds)
	return u
}

// holdsWhatItHeld waits until a coordinator holds no more than it did before, but for so many files and goroutines.
func (p *process) holdsWhatItHeld(files, goroutines int) {
	p.t.Helper()
	eventually(p.t, p.name+" to hold what it held", func(ctx) error {
		if now := p.use(); now.files > p.before.files+files || now.goroutines > p.before.goroutines+goroutines || now.heap > maxHeap {
			return fmt.Errorf("%+v, it had %+v", now, p.before)
		}
		return nil
	})
}

// A coordinator that may open few files keeps enough of them for the cluster,
// however many connections say nothing.
func TestStormFewOpenFiles(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	c := newCluster(t, 3, steadyLeader...)
	victim, leco := c.nodes[0], ports(t, 1)[0]
	victim.openFiles = 640
	victim.args = append(victim.args, "--leco-addr", leco)
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(3)
	for _, addr := range []string{victim.http, victim.ops, victim.component, leco, victim.peer} {
		for i := range 700 {
			conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
			if err != nil {
				t.Fatalf("connection %d to %s: %v", i, addr, err)
			}
			defer conn.Close()
		}
	}
	if _, _, err := victim.api().Components(t.Context(), client.Components{Read: client.Read{Consistency: "strict"}}); err != nil {
		t.Errorf("a strict read at %s: %v", victim.name, err)
	}
	in := c.signIn(c.nodes[2], "laser", 10*time.Minute)
	c.has(in.FullName, "n3")
	if strings.Contains(victim.log.String(), "too many open files") {
		t.Errorf("%s ran out of files\n%s", victim.name, victim.tail())
	}
	t.Logf("%s holds %d of %d files", victim.name, victim.use().files, victim.openFiles)
	c.agree()
}

// badSignIns are refused with the field that is wrong.
func badSignIns(t *testing.T, p *process) {
	signIn := func(what, body, field string, statuses ...int) {
		t.Helper()
		a := p.ask("POST", "/v1/components", body)
		var problem wire.Problem
		err := json.Unmarshal([]byte(a.body), &problem)
		ok := false
		for _, s := range append(statuses, 400) {
			ok = ok || a.status == s
		}
		if err != nil || !ok || problem.Field != field || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %.300s, want a refusal that names %q", what, a.status, a.body, field)
		}
	}
	for _, name := range []string{
		"", ".", "a.b", "n1.laser", " laser", "laser ", "COORDINATOR", "coordinator", "Coordinator", "la\x00ser", "la\nser", "la\x7fser",
		"läser", "\u202elaser", strings.Repeat("x", 256), strings.Repeat("x", 100_000),
	} {
		signIn(fmt.Sprintf("name %.40q", name), string(asJSON(map[string]any{"name": name})), "name")
		if name != "" { // an empty namespace is that of the coordinator asked
			signIn(fmt.Sprintf("namespace %.40q", name), string(asJSON(map[string]any{"name": "ok", "namespace": name})), "namespace")
		}
	}
	for _, lease := range []string{`0`, `"0s"`, `0.5`, `-1`, `"1ns"`, `"-5s"`, `9223372036854775807`, `1e308`, `-1e308`, `"2562047h48m"`, `"25h"`, `"soon"`, `{}`, `[1]`, `true`} {
		signIn("lease "+lease, `{"name":"ok","lease":`+lease+`}`, "lease")
	}
	for what, s := range map[string][2]string{
		"nothing":          {" ", ""},
		"no JSON":          {"laser", ""},
		"half a body":      {`{"name":"las`, ""},
		"a list":           {`[{"name":"laser"}]`, ""},
		"null":             {`null`, ""},
		"two bodies":       {`{"name":"ok"}{"name":"ok"}`, ""},
		"not UTF-8":        {"{\"name\":\"la\xffser\"}", ""},
		"a number":         {`{"name":1}`, "name"},
		"an object":        {`{"name":{"$ne":1}}`, "name"},
		"an unknown name":  {`{"name":"ok","admin":true}`, "admin"},
		"another case":     {`{"NAME":"ok"}`, "NAME"},
		"too many slots":   {`{"name":"ok","slots":1025}`, "slots"},
		"no slots":         {`{"name":"ok","slots":-1}`, "slots"},
		"half a slot":      {`{"name":"ok","slots":1.5}`, "slots"},
		"a label's key":    {`{"name":"ok","labels":{"":"x"}}`, "labels"},
		"a large label":    {`{"name":"ok","labels":{"a":"` + strings.Repeat("x", 70_000) + `"}}`, "labels"},
		"runtimes":         {`{"name":"ok","runtimes":["../../bin/sh"]}`, "runtimes"},
		"half a take-over": {`{"name":"ok","session":"x"}`, "secret"},
		"deep lists":       {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), ""},
		"deep objects":     {strings.Repeat(`{"name":`, 5000) + "1" + strings.Repeat("}", 5000), "name"},
		"deep labels":      {`{"name":"ok","labels":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000) + `}`, "labels"},
	} {
		signIn(what, s[0], s[1])
	}
	signIn("two megabytes", `{"name":"`+strings.Repeat("x", 2<<20)+`"}`, "", 413)
	// None of them is there.
	list, _, err := p.api().Components(t.Context(), client.Components{Read: client.Read{Consistency: "strict"}})
	if err != nil || len(list.Components) != 0 {
		t.Errorf("%d components are signed in (%v)", len(list.Components), err)
	}
}

// badRequests are answered below 500, whatever they are.
func badRequests(t *testing.T, p *process) {
	long := strings.Repeat("x", 8000)
	for _, path := range []string{
		"/v1/components/" + long, "/v1/components/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/v1/components/n1.la%00ser", "/v1/components/%ff.%fe",
		"/v1/components?limit=-1", "/v1/components?limit=99999999999999999999", "/v1/components?match=(((", "/v1/components?match=a{1000}{1000}",
		"/v1/components?consistency=psychic", "/v1/components?index=-1", "/v1/components?wait=-1s", "/v1/components?filter=" + strings.Repeat("(", 1000),
		"/v1/jobs/../../v1/status", "/v1/jobs/x/parts?after=-5", "/v1/jobs/x/logs?part=-9", "/v1/jobs/x/results?order=chaos", "/v1/events?topic=gossip",
		"/v1/members/%2f", "/v1/nothing", "/", "/v1", "/debug/pprof/", "/metrics",
	} {
		a := p.ask("GET", path, "", "Last-Event-ID", "-1.-1")
		if a.status >= 500 || a.status < 300 {
			t.Errorf("GET %.80s: %d %.200s", path, a.status, a.body)
		}
	}
	for _, method := range []string{"BREW", "TRACE", "CONNECT", "PATCH", "OPTIONS"} {
		if a, err := p.tryAsk(method, "/v1/components", ""); err == nil && (a.status >= 500 || a.status < 300 && method != "OPTIONS") {
			t.Errorf("%s: %d %.200s", method, a.status, a.body)
		}
	}
	// A page that a browser was tricked into comes with a foreign origin or host.
	if a := p.ask("POST", "/v1/components", `{"name":"evil"}`, "Origin", "http://evil.example"); a.status != 403 {
		t.Errorf("a foreign origin: %d %s", a.status, a.body)
	}
	for _, header := range []string{"X-Session", "Idempotency-Key", "Authorization"} {
		if a := p.ask("POST", "/v1/components", `{"name":"x.y"}`, header, strings.Repeat("k", 4000)); a.status >= 500 || a.status < 400 {
			t.Errorf("%s of 4000 bytes: %d %.200s", header, a.status, a.body)
		}
	}
	if a, err := p.tryAsk("GET", "/v1/status", "", "X-Session", strings.Repeat("k", 64<<10)); err == nil && a.status != 431 {
		t.Errorf("64 KiB of headers: %d %.200s", a.status, a.body)
	}
	raw := func(text string) {
		t.Helper()
		conn, err := net.DialTimeout("tcp", p.http, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience / 2))
		_, _ = io.WriteString(conn, text)
		answer, _ := io.ReadAll(io.LimitReader(conn, 1000))
		if bytes.Contains(answer, []byte(" 500 ")) || bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
			t.Errorf("%.60q was answered with %.200q", text, answer)
		}
	}
	raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	raw("GET /v1/status HTTP/1.1\r\n\r\n")
	raw("POST /v1/components HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")
	raw("POST /v1/components HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n")
	raw("POST /v1/components HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\nContent-Type: application/json\r\n\r\n{}")
}

// garbage is thrown at the port between coordinators, while they need it.
func garbage(t *testing.T, c *cluster) {
	frame := func(length uint32, rest string) string {
		return string(binary.BigEndian.AppendUint32(nil, length)) + rest
	}
	hello := func(kind, extra string) string {
		body := `{"version":1` + extra + `}`
		return kind + frame(uint32(len(body)), body)
	}
	var texts []string
	for _, kind := range []string{"R", "L", "C"} {
		for _, length := range []uint32{0, 1, 4097, 1<<31 - 1, 1<<32 - 1} {
			texts = append(texts, kind+frame(length, `{}`))                  // as a hello
			texts = append(texts, hello(kind, "")+frame(length, "\x00\x01")) // after one
			texts = append(texts, hello(kind, `,"server_id":"n1/0","id":"n1"`)+"\x00"+frame(length, strings.Repeat("\xff", 300)))
		}
		texts = append(texts, kind, hello(kind, `,"cluster":"another"`), hello(kind, `,"want":"nobody"`), kind+frame(5000, strings.Repeat("[", 5000)),
			kind+frame(4096, strings.Repeat("[", 4096)), hello(kind, `,"version":99`))
		for first := range 8 { // what raft would take for its requests
			texts = append(texts, hello(kind, `,"server_id":"x/1","id":"x"`)+string(rune(first))+strings.Repeat("\x81\xa4Term\xcf\xff", 50))
		}
	}
	texts = append(texts, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00", "\xff\xff\xff\xff", strings.Repeat("A", 1<<20))
	leader, _, err := c.api().Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, p := range c.nodes {
		wg.Go(func() {
			for _, text := range texts {
				conn, err := net.DialTimeout("tcp", p.peer, 5*time.Second)
				if err != nil {
					t.Errorf("dial %s: %v", p.name, err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
				_, _ = io.WriteString(conn, text)
				_, _ = io.CopyN(io.Discard, conn, 10_000)
				conn.Close()
			}
		})
	}
	wg.Wait()
	for _, p := range c.nodes {
		now, _, err := p.api().Leader(t.Context())
		if err != nil || now.ID != leader.ID || now.Term != leader.Term {
			t.Errorf("%s led in term %d, now it is %s in %d (%v)", leader.ID, leader.Term, now.ID, now.Term, err)
		}
	}
}

// silence is 2000 connections on each port of one coordinator that say
// nothing, while components come and go at all of them.
func silence(t *testing.T, c *cluster, leco string) {
	victim := c.nodes[0]
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	var apis []*client.Client // one each: their connections count too
	for _, p := range c.nodes {
		apis = append(apis, p.api())
	}
	comeAndGo := func(at *client.Client, name string) {
		t.Helper()
		in, _, err := at.SignIn(t.Context(), wire.SignIn{Name: name}, "")
		if err != nil {
			t.Fatalf("sign %s in: %v", name, err)
		}
		for _, api := range apis { // at its home and from peer to peer
			if _, _, err := api.Heartbeat(t.Context(), in.FullName, in.Secret); err != nil {
				t.Errorf("heartbeat of %s: %v", in.FullName, err)
			}
		}
		if _, err := at.SignOut(t.Context(), in.FullName, in.Secret); err != nil {
			t.Errorf("sign %s out: %v", in.FullName, err)
		}
	}
	for i := range 2000 {
		for n, addr := range []string{victim.peer, victim.http, victim.ops, victim.component, leco} {
			// The peer port judges by hosts, so there they come from where the peers
			// are; the others leave the ports of 127.0.0.1 to the tests beside this one.
			from := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+n))}}
			conn, err := from.DialContext(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatalf("connection %d to %s: %v", i, addr, err)
			}
			conns = append(conns, conn)
		}
		if i%100 == 0 {
			comeAndGo(apis[i/100%3], fmt.Sprintf("idle%d", i))
		}
	}
	for _, api := range apis {
		comeAndGo(api, "through") // with all of them open
	}
	c.component("native", []string{victim.component}, client.Component{})
	eventually(t, "the LECO door to greet", func(ctx) error {
		conn, err := net.DialTimeout("tcp", leco, 5*time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		greeting := make([]byte, 10) // of ZMTP 3: ff, eight bytes, 7f
		if _, err := io.ReadFull(conn, greeting); err != nil || greeting[0] != 0xff || greeting[9] != 0x7f {
			return fmt.Errorf("it said %x (%v)", greeting, err)
		}
		return nil
	})
	eventually(t, "the probe of life", func(ctx) error {
		rs, err := plain.Get("http://" + victim.ops + "/livez")
		if err != nil {
			return err
		}
		rs.Body.Close()
		if rs.StatusCode != 200 {
			return fmt.Errorf("status %d", rs.StatusCode)
		}
		return nil
	})
	t.Logf("under 10000 connections %s holds %d files and %d MB", victim.name, victim.use().files, victim.use().heap>>20)
}
