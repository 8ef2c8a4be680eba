package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/gateway/zmtp"
	"github.com/folkmoot/folkmoot/integration/storm"
)

// metric is the value of one line of a coordinator's /metrics; 0 if it has none.
func (p *process) metric(ctx context.Context, line string) (float64, error) {
	body, err := p.metrics(ctx)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), line+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, nil
}

func (p *process) metrics(ctx context.Context) (string, error) {
	at := *p
	at.http = p.ops
	a, err := at.tryAsk("GET", "/metrics", "")
	if err == nil && a.status != 200 {
		err = fmt.Errorf("/metrics answers %d", a.status)
	}
	if err == nil {
		err = ctx.Err()
	}
	return a.body, err
}

// dealer is a LECO component by hand.
type dealer struct {
	t    *testing.T
	conn *zmtp.Conn
	name string
}

func dealTo(t *testing.T, addr, name string) *dealer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := zmtp.Dial(ctx, addr, zmtp.Config{Socket: "DEALER"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return &dealer{t, conn, name}
}

func lecoHeader(kind byte) string { return "conversation-16b\x00\x00\x00" + string(kind) }

func (d *dealer) send(frames ...string) {
	d.t.Helper()
	list := make([][]byte, len(frames))
	for i, f := range frames {
		list[i] = []byte(f)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if err := d.conn.SendWait(ctx, list...); err != nil && !errors.Is(err, zmtp.ErrClosed) {
		d.t.Fatal(err)
	}
}

// asks is the content of the answer of COORDINATOR, whatever else comes.
func (d *dealer) asks(method, params string) string {
	d.t.Helper()
	d.send("\x00", "COORDINATOR", d.name, lecoHeader(1), `{"id":77,"method":"`+method+`","params":`+params+`,"jsonrpc":"2.0"}`)
	limit := time.AfterFunc(patience, d.conn.Close)
	defer limit.Stop()
	for {
		frames, err := d.conn.Receive()
		if err != nil {
			d.t.Fatalf("%s asks for %s: %v", d.name, method, err)
		}
		if len(frames) > 4 && strings.HasPrefix(string(frames[4]), `{"id":77,`) {
			return string(frames[4])
		}
	}
}

// signsIn makes the dealer a component or, by its name, a foreign coordinator.
func (d *dealer) signsIn() *dealer {
	d.t.Helper()
	method := "sign_in"
	if strings.HasSuffix(d.name, ".COORDINATOR") {
		method = "coordinator_sign_in"
	}
	if got, want := d.asks(method, "{}"), `{"id":77,"result":null,"jsonrpc":"2.0"}`; got != want {
		d.t.Fatalf("%s signs in: got %s", d.name, got)
	}
	return d
}

// maxHeap bounds what a coordinator holds that is not under attack any more, with
// what the collector has not taken yet.
const maxHeap = 128 << 20

// zmtpHello is a greeting with a READY of this socket type.
func zmtpHello(mechanism, socket string) string {
	g := make([]byte, 64)
	copy(g, "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01"+mechanism)
	body := "\x05READY\x0bSocket-Type\x00\x00\x00" + string(rune(len(socket))) + socket
	return string(g) + "\x04" + string(rune(len(body))) + body
}

// What ends a pyleco coordinator (0.6.0), and what ended or stalled other
// servers of ZMTP, costs its sender its message or its connection: the same
// process goes on, others are answered, and a counter in /metrics says so.
func TestStormHostileLECO(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	data := dataPorts(t)
	c, doors := lecoCluster(t, 1, "--leco-data-addr", fmt.Sprintf("127.0.0.1:%d", data))
	n1, door := c.nodes[0], doors[0]
	publishers, subscribers := fmt.Sprintf("127.0.0.1:%d", data), fmt.Sprintf("127.0.0.1:%d", data-1)
	before := n1.use()
	good := dealTo(t, door, "good").signsIn()

	const signIn = `{"id":1,"method":"sign_in","jsonrpc":"2.0"}`
	const yes = `{"id":1,"result":null,"jsonrpc":"2.0"}`
	deep := strings.Repeat("[", 100_000)
	h := lecoHeader(1)
	by := func(name string, signed bool, messages ...[]string) func(t *testing.T) {
		return func(t *testing.T) {
			d := dealTo(t, door, name)
			if signed {
				d.signsIn()
			}
			for _, m := range messages {
				d.send(m...)
			}
		}
	}
	msg := func(frames ...string) []string { return frames }
	stranger := func(m ...string) func(*testing.T) { return by("CS", false, m) }
	component := func(m ...string) func(*testing.T) { return by("CA", true, m) }
	foreign := func(m ...string) func(*testing.T) { return by("n2.COORDINATOR", true, m) }
	bytesTo := func(addr, bytes string) func(*testing.T) {
		return func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := io.WriteString(conn, bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw := func(bytes string) func(*testing.T) { return bytesTo(door, bytes) }
	// answering is a coordinator that n1 is asked to link to; "H" is the header
	// of the request.
	answering := func(frames ...string) func(*testing.T) {
		return func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := zmtp.Serve(l, zmtp.Config{Socket: "ROUTER"}, func(conn *zmtp.Conn) {
				asked, err := conn.Receive()
				if err != nil || len(asked) < 4 {
					return
				}
				list := make([][]byte, len(frames))
				for i, f := range frames {
					if list[i] = []byte(f); f == "H" {
						list[i] = asked[3]
					}
				}
				_ = conn.Send(list...)
				_, _ = conn.Receive()
			})
			t.Cleanup(server.Close)
			good.asks("add_nodes", fmt.Sprintf(`{"nodes":{"n9":%q}}`, server.Addr()))
		}
	}
	const badChannel = `folkmoot_leco_channel_total{channel="data",what="broken_connections"}`
	dealer := zmtpHello("NULL", "DEALER")

	for _, row := range []struct {
		name    string
		counter string // what of folkmoot_leco_total, or a whole line
		do      func(t *testing.T)
	}{
		// These end a pyleco coordinator.
		{"a header of 5 bytes from a stranger", "malformed", stranger("\x00", "COORDINATOR", "CS", "short", "{}")},
		{"a heartbeat without header", "malformed", stranger("\x00", "COORDINATOR", "CS", "")},
		{"four empty frames", "malformed", stranger("", "", "", "")},
		{"a header of 5 bytes to a receiver that is not there", "malformed", component("\x00", "CX", "CA", "short", "{}")},
		{"content that is no UTF-8", "bad_content", component("\x00", "COORDINATOR", "CA", h, "\xff\xfe")},
		{"content of a stranger that is no UTF-8 and has the word sign_in", "not_signed_in", stranger("\x00", "COORDINATOR", "CS", h, "\xff\"sign_in\"")},
		{"100,000 nested arrays", "bad_content", component("\x00", "COORDINATOR", "CA", h, deep)},
		{"100,000 nested arrays of a stranger with the word sign_in", "not_signed_in", stranger("\x00", "COORDINATOR", "CS", h, deep+`"sign_in"`)},
		{"an integer of 5,000 digits", "bad_content", component("\x00", "COORDINATOR", "CA", h, `{"id":`+strings.Repeat("1", 5000)+`}`)},
		{"a receiver that is no UTF-8", "receiver_unknown", component("\x00", "\xff\xfe", "CA", h, "{}")},
		{"a receiver's namespace that is no UTF-8", "node_unknown", component("\x00", "\xff.CB", "CA", h, "{}")},
		{"a receiver of a stranger that is no UTF-8, with the word sign_in", "not_signed_in", stranger("\x00", "\xff\xfe", "CS", h, `"sign_in"`)},
		{"a sender without name that signs in and speaks", "malformed", by("", false, msg("\x00", "COORDINATOR", "", h, signIn), msg("\x00", "good", "", h, "{}"))},
		{"shut_down of a stranger under the id sign_in", "not_signed_in", stranger("\x00", "COORDINATOR", "CS", h, `{"id":"sign_in","method":"shut_down"}`)},
		{"a foreign component whose namespace is no UTF-8", "foreign_sender", foreign("\x00", "CX", "\xff.x", h, "{}")},
		{"a foreign component's message without header", "malformed", foreign("\x00", "CX", "n2.x", "")},
		{"content of a foreign coordinator that is no UTF-8", "not_signed_in", by("n2.COORDINATOR", false, msg("\x00", "COORDINATOR", "n2.COORDINATOR", h, "\xffcoordinator_sign_in"))},
		{"a sign-in under a name that is no UTF-8 (ends pyleco's expiry)", "bad_content", by("CA", false, msg("\x00", "COORDINATOR", "\xff\xfe", h, signIn))},
		{"a linked coordinator answers without payload", "bad_content", answering("\x00", "COORDINATOR", "n9.COORDINATOR", "H")},
		{"a linked coordinator answers what is no JSON", "bad_content", answering("\x00", "COORDINATOR", "n9.COORDINATOR", "H", "x")},
		{"a linked coordinator answers what is no UTF-8", "bad_content", answering("\x00", "COORDINATOR", "n9.COORDINATOR", "H", "\xff")},
		{"a linked coordinator answers 100,000 nested arrays", "bad_content", answering("\x00", "COORDINATOR", "n9.COORDINATOR", "H", deep)},
		{"a linked coordinator whose namespace is no UTF-8", "malformed", answering("\x00", "COORDINATOR", "\xff.COORDINATOR", "H", yes)},
		{"a linked coordinator answers without sender", "malformed", answering("\x00", "COORDINATOR", "", "H", yes)},
		{"load beside a silent component", "expired", func(t *testing.T) {
			dealTo(t, door, "silent").signsIn()
			eventually(t, "the silent one to go", func(context.Context) error {
				for range 200 {
					good.asks("send_local_components", "{}")
				}
				good.asks("remove_expired_addresses", `{"expiration_time":0.2}`)
				if got := good.asks("send_local_components", "{}"); strings.Contains(got, "silent") {
					return fmt.Errorf("there are %s", got)
				}
				return nil
			})
		}},

		// These end or stall other servers of ZMTP.
		{"a silent connection", "refused_connections", raw("")},
		{"half a greeting and then silence", "refused_connections", raw(dealer[:40])},
		{"HTTP", "refused_connections", raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"TLS", "refused_connections", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")},
		{"ZMTP 2", "refused_connections", raw("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05")},
		{"CURVE", "refused_connections", raw(zmtpHello("CURVE", "DEALER"))},
		{"a SUB at the control port", "refused_connections", raw(zmtpHello("NULL", "SUB"))},
		{"READY cut inside a value", "refused_connections", raw(dealer[:64] + "\x04\x18\x05READY\x0bSocket-Type\xff\xff\xff\xff\x00\x00")},
		{"READY of 2^62 bytes", "refused_connections", raw(dealer[:64] + "\x06\x40\x00\x00\x00\x00\x00\x00\x00")},
		{"a frame of 2^62 bytes", "broken_connections", raw(dealer + "\x02\x40\x00\x00\x00\x00\x00\x00\x00")},
		{"a frame of 2^63 bytes", "broken_connections", raw(dealer + "\x02\x80\x00\x00\x00\x00\x00\x00\x00")},
		{"a frame of 2 GiB", "too_large", raw(dealer + "\x02\x00\x00\x00\x00\x80\x00\x00\x00" + strings.Repeat("x", 8192))},
		{"a frame with flags 255", "broken_connections", raw(dealer + "\xff\x00")},
		{"a command without name", "broken_connections", raw(dealer + "\x04\x00")},
		{"2,000 frames in a message", "too_large", raw(dealer + strings.Repeat("\x01\x00", 2000))},
		{"an end in the midst of a message", "broken_connections", func(t *testing.T) {
			conn, err := net.Dial("tcp", door)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, dealer+"\x00\x10half"); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, conn) // what is unread would make a reset of the end
		}},
		{"1,100 silent connections", "refused_connections", func(t *testing.T) {
			for range 1100 {
				raw("")(t)
			}
		}},
		{"a component that reads nothing", "undelivered", func(t *testing.T) {
			slow := dealTo(t, door, "slow").signsIn()
			big := strings.Repeat("x", 1<<20)
			sender := dealTo(t, door, "sender").signsIn()
			for range 60 { // its own queues, its mailbox and the kernel's hold less
				sender.send("\x00", "slow", "sender", lecoHeader(0), big)
			}
			sender.asks("sign_out", "{}")
			slow.conn.Close()
		}},
		{"one speaks as another", "duplicate_name", stranger("\x00", "COORDINATOR", "good", h, signIn)},
		{"HTTP to the data channel", `folkmoot_leco_channel_total{channel="data",what="refused_connections"}`, bytesTo(publishers, "GET / HTTP/1.1\r\n\r\n")},
		{"a publisher's frame of 2^62 bytes", badChannel, bytesTo(publishers, zmtpHello("NULL", "PUB")+"\x02\x40\x00\x00\x00\x00\x00\x00\x00")},
		{"a subscriber's frame of 2^62 bytes", badChannel, bytesTo(subscribers, zmtpHello("NULL", "SUB")+"\x02\x40\x00\x00\x00\x00\x00\x00\x00")},
		{"10,001 subscriptions", badChannel, func(t *testing.T) {
			var all strings.Builder
			all.WriteString(zmtpHello("NULL", "SUB"))
			for i := range 10_001 {
				fmt.Fprintf(&all, "\x00\x06\x01%05d", i)
			}
			bytesTo(subscribers, all.String())(t)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			line := row.counter
			if !strings.Contains(line, "{") {
				line = `folkmoot_leco_total{what="` + line + `"}`
			}
			at, err := n1.metric(t.Context(), line)
			if err != nil {
				t.Fatal(err)
			}
			row.do(t)
			eventually(t, line+" to rise", func(ctx context.Context) error {
				if now, err := n1.metric(ctx, line); err != nil || now <= at {
					return fmt.Errorf("it is %v, was %v, %w", now, at, err)
				}
				return nil
			})
			if got := good.asks("pong", "{}"); !strings.HasPrefix(got, `{"id":77,"result":null`) {
				t.Errorf("another is answered with %s", got)
			}
		})
		if t.Failed() || !n1.running() {
			t.Fatalf("after %s: running %v\n%s", row.name, n1.running(), n1.tail())
		}
	}
	eventually(t, "only the good one to be there, and nothing to be held", func(ctx context.Context) error {
		var in struct{ Result []string }
		if err := json.Unmarshal([]byte(good.asks("send_local_components", "{}")), &in); err != nil {
			return err
		}
		if now := n1.use(); strings.Join(in.Result, " ") != "good" || now.files > before.files+25 || now.heap > maxHeap {
			return fmt.Errorf("components %v, %d files (%d before), %d MB of heap", in.Result, now.files, before.files, now.heap>>20)
		}
		return nil
	})
	t.Logf("it holds %d MB and %d files; before %d MB, %d files", n1.use().heap>>20, n1.use().files, before.heap>>20, before.files)
	if st, _, err := n1.api().Status(t.Context()); err != nil || st.ProcessID != n1.cmd.Process.Pid {
		t.Errorf("it is process %d, was %d: %v", st.ProcessID, n1.cmd.Process.Pid, err)
	}
}
