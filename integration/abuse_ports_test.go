package integration_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

func decode(text string, into any) { _ = json.Unmarshal([]byte(text), into) } // what is missing is seen later

func length(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// preamble begins every native session.
var preamble = string(wire.Preamble{Version: 1, Ping: 2 * time.Second}.Append(nil))

func frameOf(m wire.Message) string {
	b, err := wire.AppendFrame(nil, &m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// signInFrame asks COORDINATOR for a name, with a token if there is one.
func signInFrame(name, token string) string {
	params := map[string]any{"name": name}
	if token != "" {
		params["token"] = token
	}
	return askFrame("sign_in", params)
}

func askFrame(method string, params any) string {
	return frameOf(wire.Message{To: wire.Coordinator, Conversation: [16]byte{1}, ID: 1, Type: wire.TypeJSON, Payload: [][]byte{
		asJSON(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
	}})
}

// nativeAbuse is what is thrown at the port of native sessions.
func nativeAbuse() (rows []abuse) {
	chunk := func(id uint32, head string, piece int) string {
		return frameOf(wire.Message{Type: wire.TypeChunk, ID: id, Payload: [][]byte{[]byte(head), make([]byte, piece)}})
	}
	add := func(kind, what, text string, signedIn bool) {
		number := len(rows) // a name for each row: sessions live on for a while
		rows = append(rows, abuse{kind, what, func(a *attack) {
			head := preamble
			if signedIn {
				head += signInFrame(fmt.Sprintf("allowed-%d", number), a.token)
			}
			got := a.throws(a.n1.component, head+text, false)
			if welcome := strings.Contains(got, `"secret"`); welcome != signedIn {
				a.Errorf("a session was opened: %v, want %v: %.400q", welcome, signedIn, got)
			}
		}})
	}
	for _, n := range []uint32{0, 1, 26, 4097, 1<<31 - 1, 1<<32 - 1} {
		add("NATS CVE-2026-27889", fmt.Sprintf("a frame of %d bytes", n), length(n)+strings.Repeat("\x01", 100), false)
	}
	for _, n := range []uint32{0, 26, 1<<31 - 1, 1<<32 - 1} {
		add("NATS CVE-2026-27889", fmt.Sprintf("a frame of %d bytes, signed in", n), length(n)+strings.Repeat("\x01", 100), true)
	}
	ping := frameOf(wire.Message{Type: wire.TypePing})
	broken := func(at int, to byte) string { b := []byte(ping); b[at] = to; return string(b) }
	add("NATS CVE-2026-27889", "version 0", broken(4, 0), false)
	add("NATS CVE-2026-27889", "version 255", broken(4, 255), false)
	add("NATS CVE-2026-27889", "a name longer than its frame", broken(6, 255), false)
	add("NATS CVE-2026-27889", "65535 frames in none", broken(len(ping)-1, 255), false)
	add("NATS CVE-2026-27889", "a payload of 4 GiB", func() string {
		b := frameOf(wire.Message{Type: wire.TypeJSON, Payload: [][]byte{{1}}})
		return b[:len(b)-5] + "\xff\xff\xff\xff\x01"
	}(), false)
	add("NATS CVE-2026-27889", "a chunk before the sign-in", chunk(1, "\x01\xff\xff\xff\xff", 9), false)
	add("NATS CVE-2026-27889", "a chunk of a frame of 4 GiB", chunk(1, "\x01\xff\xff\xff\xff", 9), true)
	add("NATS CVE-2026-27889", "a chunk with unknown flags", chunk(1, "\xff\x00\x00\x00\x09", 9), true)
	add("NATS CVE-2026-27889", "a chunk without a beginning", chunk(1, "\x00", 9), true)
	add("NATS CVE-2026-27889", "a chunk longer than its frame", chunk(1, "\x01\x00\x00\x00\x09", 10), true)
	add("NATS CVE-2026-27889", "a frame about the connection in chunks", chunk(1, "\x03"+length(uint32(len(ping))), 0)+ping, true)
	add("NATS CVE-2026-27889", "five frames in chunks", chunk(1, "\x01\x00\x10\x00\x00", 9)+chunk(2, "\x01\x00\x10\x00\x00", 9)+chunk(3, "\x01\x00\x10\x00\x00", 9)+
		chunk(4, "\x01\x00\x10\x00\x00", 9)+chunk(5, "\x01\x00\x10\x00\x00", 9), true)
	add("NATS CVE-2026-27889", "a ping of 65 bytes", frameOf(wire.Message{Type: wire.TypePing, Payload: [][]byte{make([]byte, 65)}}), true)
	add("NATS 2026-16", "a sign-in without a token", signInFrame("evil", ""), false)
	add("NATS 2026-16", "a sign-in with a wrong token", signInFrame("evil", strings.Repeat("f", 57)), false)
	rows = append(rows, abuse{"NATS 2026-16", "a sign-in with few rights", func(a *attack) {
		for _, p := range a.c.nodes {
			conn := a.dial(p.component)
			_, _ = io.WriteString(conn, preamble+signInFrame("evil", a.low))
			a.hears(conn, `"needs":"components:write@`+p.name+`"`)
		}
	}})
	add("NATS 2026-16", "another method before the sign-in", askFrame("shut_down", map[string]any{}), false)
	add("NATS 2026-16", "a message before the sign-in", frameOf(wire.Message{To: "n1.victim", Payload: [][]byte{{1}}}), false)
	add("NATS 2026-16", "a receipt and a sign-in without a token", frameOf(wire.Message{Type: wire.TypeReceipt, Payload: [][]byte{{0, 0, 1}}})+signInFrame("evil", ""), false)
	add("Nomad CVE-2022-24685", "a sign-in nested 1000 deep", frameOf(wire.Message{To: wire.Coordinator, Type: wire.TypeJSON, Payload: [][]byte{[]byte(strings.Repeat("[", 1000))}}), false)
	for what, first := range map[string]string{
		"version 0": "FOLK\x00\x02\x00\x00", "no preamble": "FORK\x01\x02\x00\x00", "reserved bytes": "FOLK\x01\x02\x01\x00", "a TLS hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
		"HTTP": "GET /v1/components HTTP/1.1\r\nHost: x\r\n\r\n", "ZMTP": zmtpHello("NULL", "DEALER"), "zeros": strings.Repeat("\x00", 100),
	} {
		rows = append(rows, abuse{"NATS CVE-2026-27889", what + " at the native port", func(a *attack) {
			if got := a.throws(a.n1.component, first, false); strings.Contains(got, `"secret"`) {
				a.Errorf("it was answered %.200q", got)
			}
		}})
	}
	return append(rows, abuse{"name spoofing", "a sender that is another", func(a *attack) {
		text := preamble + signInFrame("allowed-forger", a.token) +
			frameOf(wire.Message{To: "n1.victim", From: "n1.COORDINATOR", Conversation: [16]byte{2}, ID: 2, Payload: [][]byte{[]byte("forged")}})
		conn := a.dial(a.n1.component)
		_, _ = io.WriteString(conn, text)
		a.hears(conn, "must not send as")
		mail := a.asks(a.n1, "GET", "/v1/components/n1.victim/messages?wait=1ms", "", append(a.bearer(), "X-Session", a.victim.Secret, "Accept", "application/json")...)
		if strings.Contains(mail.body, "forged") {
			a.Errorf("the victim got it: %s", mail.body)
		}
	}})
}

// upgrade asks for a WebSocket and returns the connection with what was answered.
func (a *attack) upgrade(p *process, headers ...string) (net.Conn, *http.Response) {
	a.Helper()
	conn := a.dial(p.http)
	text := "GET /v1/session HTTP/1.1\r\nHost: " + p.http + "\r\n"
	all := append([]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: folkmoot.v1"}, headers...)
	if _, err := io.WriteString(conn, text+strings.Join(all, "\r\n")+"\r\n\r\n"); err != nil {
		a.Fatal(err)
	}
	rs, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { rs.Body.Close() })
	return conn, rs
}

// webSocketAbuse is what is thrown at sessions over WebSocket.
func webSocketAbuse() (rows []abuse) {
	masked := func(head, body string) string { // a mask of zeros changes nothing
		b := []byte(head)
		b[1] |= 0x80
		return string(b) + "\x00\x00\x00\x00" + body
	}
	signIn := `{"to":"COORDINATOR","content":{"jsonrpc":"2.0","id":1,"method":"sign_in","params":{"name":"evil"}}}`
	for what, text := range map[string]string{
		"a frame without mask":               "\x81\x05hello",
		"a ping without mask":                "\x89\x00",
		"reserved bit 1 (compressed)":        masked("\xc1\x05", "hello"),
		"reserved bits 2 and 3":              masked("\xb1\x05", "hello"),
		"reserved opcode 3":                  masked("\x83\x05", "hello"),
		"reserved opcode 15":                 masked("\x8f\x00", ""),
		"a ping in pieces":                   masked("\x09\x01", "x") + masked("\x80\x01", "x"),
		"a ping of 126 bytes":                masked("\x89\x7e\x00\x7e", strings.Repeat("p", 126)),
		"a close of one byte":                masked("\x88\x01", "x"),
		"a close with a reserved code":       masked("\x88\x02", "\x03\xed"),
		"a close that is no UTF-8":           masked("\x88\x04", "\x03\xe8\xff\xfe"),
		"a piece without a beginning":        masked("\x80\x05", "hello"),
		"a beginning within a message":       masked("\x01\x01", "{") + masked("\x81\x01", "}"),
		"a length of 2^63":                   masked("\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", ""),
		"a length of 2^64-1":                 masked("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "x"),
		"a length of 2^40":                   masked("\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00", strings.Repeat("x", 8192)),
		"a text that is no UTF-8":            masked("\x81\x05", "he\xff\xfeo"),
		"a text of 5 KiB before the sign-in": masked("\x81\x7e\x14\x00", strings.Repeat("x", 5120)),
		"empty pieces without end":           masked("\x01\x01", "{") + strings.Repeat(masked("\x00\x00", ""), 5000) + masked("\x81\x00", ""),
		"a text nested 1000 deep":            masked("\x81\x7e\x03\xe8", strings.Repeat("[", 1000)),
		"a binary frame of length 0":         masked("\x82\x04", "\x00\x00\x00\x00"),
		"a binary frame of 2^32-1":           masked("\x82\x04", "\xff\xff\xff\xff"),
		"two frames in one message":          masked("\x82\x3e", strings.Repeat(frameOf(wire.Message{Type: wire.TypePing}), 2)),
		"nothing after the handshake*":       masked("\x88\x00", ""),
	} {
		rows = append(rows, abuse{"RFC 6455", what, func(a *attack) {
			for _, by := range []struct {
				at    *process
				token string
			}{{a.n1, a.token}, {a.n1, a.low}, {a.laptop, a.token}} {
				p := by.at
				conn, rs := a.upgrade(p, "Authorization: Bearer "+by.token)
				if rs.StatusCode != 101 || rs.Header.Get("Sec-WebSocket-Extensions") != "" {
					a.Fatalf("the handshake: %s %v", rs.Status, rs.Header)
				}
				_, _ = io.WriteString(conn, text)
				_ = conn.(*net.TCPConn).CloseWrite()
				got, err := io.ReadAll(io.LimitReader(conn, 1<<20))
				if errors.Is(err, os.ErrDeadlineExceeded) {
					a.Errorf("%s leaves the connection open, after %.200q", p.name, got)
				}
				a.tells(string(got))
				if strings.Contains(string(got), `"secret"`) {
					a.Errorf("a session was opened: %.300q", got)
				}
			}
		}})
	}
	rows = append(rows, abuse{"Nomad CVE-2023-3072", "a sign-in with few rights", func(a *attack) {
		conn, rs := a.upgrade(a.n1, "Authorization: Bearer "+a.low)
		if rs.StatusCode != 101 {
			a.Fatalf("the handshake: %s", rs.Status)
		}
		_, _ = io.WriteString(conn, masked("\x81"+string(rune(len(signIn))), signIn))
		a.hears(conn, `"forbidden"`)
	}})
	for what, h := range map[string]struct {
		headers []string
		laptop  bool
		want    []int
	}{
		"no token":                        {nil, false, []int{401}},
		"a token in the sub-protocol":     {[]string{"Sec-WebSocket-Protocol: bearer, operator"}, false, []int{401}},
		"a wrong token":                   {[]string{"Authorization: Bearer x"}, false, []int{401}},
		"a foreign page":                  {[]string{"Origin: http://evil.example"}, true, []int{403}},
		"a page on another port":          {[]string{"Origin: http://127.0.0.1:1"}, true, []int{403}},
		"compression offered, and a page": {[]string{"Sec-WebSocket-Extensions: permessage-deflate", "Origin: null"}, true, []int{403}},
	} {
		rows = append(rows, abuse{"RFC 6455", "a handshake with " + what, func(a *attack) {
			p := a.n1
			if h.laptop {
				p = a.laptop
			}
			if _, rs := a.upgrade(p, h.headers...); rs.StatusCode != h.want[0] {
				a.Errorf("it was answered %s", rs.Status)
			}
		}})
	}
	return append(rows,
		abuse{"NATS CVE-2026-29785", "compression offered", func(a *attack) {
			if _, rs := a.upgrade(a.laptop, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"); rs.StatusCode != 101 || rs.Header.Get("Sec-WebSocket-Extensions") != "" {
				a.Errorf("it was answered %s with %v", rs.Status, rs.Header)
			}
		}},
		abuse{"name spoofing", "a sender that is another, in text", func(a *attack) {
			conn, _ := a.upgrade(a.n1, "Authorization: Bearer "+a.token)
			text := func(s string) string {
				return masked("\x81\x7e"+string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))), s)
			}
			in := strings.Replace(signIn, "evil", "allowed-page", 1)
			_, _ = io.WriteString(conn, text(in)+text(`{"to":"n1.victim","from":"n1.COORDINATOR","id":2,"payload":["Zm9yZ2Vk"]}`))
			a.hears(conn, "must not send as")
		}},
	)
}

// peerAbuse is what is thrown at the port between coordinators.
func peerAbuse() (rows []abuse) {
	hello := func(kind, body string) string { return kind + length(uint32(len(body))) + body }
	add := func(kind, what, text string) {
		rows = append(rows, abuse{kind, what, func(a *attack) {
			for _, p := range a.c.nodes {
				if got := a.throws(p.peer, text, false); strings.HasPrefix(got, "+") {
					a.Errorf("%s accepts it: %.200q", p.name, got)
				}
			}
		}})
	}
	for _, kind := range []string{"R", "L", "C"} {
		for _, n := range []uint32{0, 1, 4097, 1<<31 - 1, 1<<32 - 1} {
			add("NATS CVE-2026-27889", fmt.Sprintf("%s and a hello of %d bytes", kind, n), kind+length(n)+strings.Repeat("{", 10))
		}
		add("Consul CVE-2022-40716", kind+" of another cluster", hello(kind, `{"version":1,"id":"n2","cluster":"another"}`))
		add("Consul CVE-2021-37219", kind+" for somebody else", hello(kind, `{"version":1,"id":"n2","want":"n7"}`))
		add("peer", kind+" of a version to come", hello(kind, `{"version":99,"id":"n2"}`))
		add("peer", kind+" of version 0", hello(kind, `{"version":0,"id":"n2"}`))
		add("peer", kind+" nested", hello(kind, strings.Repeat("[", 4000)))
	}
	for _, kind := range []string{"R", "L"} {
		add("Consul CVE-2021-37219", kind+" of a stranger", hello(kind, `{"version":1,"id":"n7","server_id":"n7/0123456789abcdef"}`))
		add("Consul CVE-2021-37219", kind+" of a member's other incarnation", hello(kind, `{"version":1,"id":"n2","server_id":"n2/0000000000000000"}`))
		add("Consul CVE-2021-37219", kind+" of nobody", hello(kind, `{"version":1}`))
	}
	for what, text := range map[string]string{
		"HTTP": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "zeros": strings.Repeat("\x00", 100), "a small letter": "c\x00\x00\x00\x02{}",
	} {
		add("peer", what, text)
	}
	return rows
}

// opsAbuse is what is thrown at the operator's port.
func opsAbuse() (rows []abuse) {
	for what, r := range map[string]struct {
		line string
		want string
	}{
		"REST":               {"GET /v1/status", " 404 "},
		"REST by a path":     {"GET /debug/pprof/../../v1/status", " 404 "},
		"an escaped path":    {"GET /%2e%2e/%2e%2e/etc/passwd", " 404 "},
		"a profile by POST":  {"POST /debug/pprof/profile", " 405 "},
		"a probe by DELETE":  {"DELETE /livez", " 405 "},
		"a method of its":    {"BREW /metrics", " 405 "},
		"two slashes":        {"GET //livez", " 404 "},
		"another host":       {"GET http://169.254.169.254/latest", " 404 "},
		"a profile of a day": {"GET /debug/pprof/profile?seconds=86400", " 400 "},
		"a trace of years":   {"GET /debug/pprof/trace?seconds=1e30", " 400 "},
	} {
		rows = append(rows, abuse{"etcd CVE-2021-28235", what, func(a *attack) {
			got := a.throws(a.n1.ops, r.line+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false)
			if first, _, _ := strings.Cut(got, "\r\n"); !strings.Contains(first, r.want) {
				a.Errorf("%s was answered %q, want%s", r.line, first, r.want)
			}
		}})
	}
	return append(rows,
		abuse{"etcd CVE-2021-28235", "secrets in metrics, command line and goroutines", func(a *attack) {
			for _, path := range []string{"/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap?debug=1"} {
				a.throws(a.n1.ops, "GET "+path+" HTTP/1.0\r\n\r\n", false)
			}
			metrics, err := a.n1.metrics(a.Context())
			if err != nil || strings.Contains(metrics, "victim") {
				a.Errorf("the metrics hold a user's name, or %v", err)
			}
		}},
		abuse{"Nomad CVE-2020-7218", "bodies withheld by more than there is room for", func(a *attack) {
			for range 300 {
				_, _ = io.WriteString(a.dial(a.n1.ops), "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
			}
			if got := a.throws(a.n1.ops, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false); !strings.HasPrefix(got, "HTTP/1.1 200") {
				a.Errorf("the probe of life is answered %.100q", got)
			}
		}})
}

// lecoAbuse is what strangers ask LECO's door for while tokens are asked for elsewhere; what
// ends other servers of ZMTP is in leco_hostile_test.go.
func lecoAbuse() (rows []abuse) {
	for what, name := range map[string]string{"COORDINATOR": "COORDINATOR", "its full name": "n1.COORDINATOR", "a live name": "victim", "a live full name": "n1.victim", "another's namespace": "n2.evil", "nothing": ""} {
		rows = append(rows, abuse{"name spoofing", "a sign-in as " + what, func(a *attack) {
			a.lecoRefuses(name, "sign_in")
		}})
	}
	for what, ask := range map[string]struct{ method, params string }{
		"the end of the process":  {"shut_down", `{}`},
		"other levels of the log": {"set_log_level", `{"level":"DEBUG"}`},
		"other links (SSRF)":      {"add_nodes", `{"nodes":{"n8":"169.254.169.254:80"}}`},
	} {
		rows = append(rows, abuse{"NATS 2026-16", "a component without a token asks for " + what, func(a *attack) {
			d := dealTo(a.T, a.leco, "allowed-leco").signsIn()
			if got := d.asks(ask.method, ask.params); !strings.Contains(got, `"error"`) {
				a.Errorf("it was answered %s", got)
			}
			d.asks("sign_out", "{}")
		}})
	}
	return append(rows, abuse{"NATS 2026-18", "a stranger signs in as a member's namespace", func(a *attack) {
		for _, name := range []string{"n2.COORDINATOR", "n1.COORDINATOR"} {
			a.lecoRefuses(name, "coordinator_sign_in")
		}
	}})
}

// lecoRefuses checks that LECO's door does not let in who asks by a method.
func (a *attack) lecoRefuses(name, method string) {
	a.Helper()
	d := dealTo(a.T, a.leco, name)
	d.send("\x00", "COORDINATOR", name, lecoHeader(1), `{"id":77,"method":"`+method+`","jsonrpc":"2.0"}`)
	limit := time.AfterFunc(patience, d.conn.Close)
	defer limit.Stop()
	frames, err := d.conn.Receive()
	if err != nil || len(frames) < 5 || !strings.Contains(string(frames[4]), `"error"`) {
		a.Errorf("%s by %q was answered %q, %v", method, name, frames, err)
	}
}
