package integration_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
)

// secured is one coordinator whose REST speaks TLS.
type secured struct{ *process }

// startSecured starts one that asks for a token, too.
func startSecured(t *testing.T) secured {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{t: t, dir: t.TempDir()}
	c.ctl(0, "ca", "init", "--cluster", "lab", "--dir", dir)
	c.ctl(0, "ca", "issue", "--dir", dir, "--id", "n8", "--hosts", "127.0.0.1", "--out", filepath.Join(dir, "n8"))
	trust, err := client.LoadTLS(filepath.Join(dir, "ca.pem"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	free := ports(t, 3)
	p := c.prepare("n8", free[0], free[1], free[2],
		"--http-cert", filepath.Join(dir, "n8", "cert.pem"), "--http-key", filepath.Join(dir, "n8", "key.pem"))
	p.asksForToken(operatorToken)
	p.tls = trust
	p.start()
	c.waitHealthy(1)
	return secured{p}
}

// dials opens a TLS connection that offers protocols.
func (s secured) dials(t *testing.T, offered ...string) (*tls.Conn, error) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.http, &tls.Config{RootCAs: s.tls.RootCAs, NextProtos: offered})
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// serves answers a client that does nothing wrong.
func (s secured) serves(t *testing.T) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: s.tls.Clone(), DisableKeepAlives: true, ForceAttemptHTTP2: true}, Timeout: patience}
	for _, token := range []string{s.token, ""} {
		rq, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.http+"/v1/leader", nil)
		if err != nil {
			t.Fatal(err)
		}
		want := http.StatusUnauthorized
		if token != "" {
			rq.Header.Set("Authorization", "Bearer "+token)
			want = http.StatusOK
		}
		rs, err := c.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		rs.Body.Close()
		if rs.StatusCode != want || rs.ProtoMajor != 1 {
			t.Errorf("a client is answered %s by %s, want %d by HTTP/1.1", rs.Status, rs.Proto, want)
		}
	}
}

// http2Frame is a frame of HTTP/2.
func http2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	return append(binary.BigEndian.AppendUint32(append(b, kind, flags), stream), payload...)
}

// http2Floods are what ended servers of HTTP/2, each as a client that speaks it from the first byte.
func http2Floods() map[string][]byte {
	const data, headers, reset, settings, ping, continuation = 0, 1, 3, 4, 6, 9
	begin := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), http2Frame(settings, 0, 0, nil)...)
	// :method GET, :scheme https, :path /, and :authority x, of the static table.
	get := []byte{0x82, 0x87, 0x84, 0x41, 0x01, 'x'}
	flood := func(times int, frame func(stream uint32) []byte) []byte {
		b := bytes.Clone(begin)
		for i := range times {
			b = append(b, frame(uint32(2*i+1))...)
		}
		return b
	}
	return map[string][]byte{
		"rapid reset": flood(5000, func(s uint32) []byte {
			return append(http2Frame(headers, 5, s, get), http2Frame(reset, 0, s, []byte{0, 0, 0, 8})...)
		}),
		"CONTINUATION without an end": append(append(bytes.Clone(begin), http2Frame(headers, 0, 1, get)...),
			bytes.Repeat(http2Frame(continuation, 0, 1, bytes.Repeat([]byte{0x40, 1, 'a', 1, 'b'}, 3000)), 200)...),
		"headers of 16 MiB": flood(1000, func(uint32) []byte {
			return http2Frame(headers, 5, 1, bytes.Repeat([]byte{0x40, 1, 'a', 1, 'b'}, 3270))
		}),
		"many streams, bodies withheld": flood(5000, func(s uint32) []byte { return http2Frame(headers, 4, s, []byte{0x83, 0x87, 0x84, 0x41, 0x01, 'x'}) }),
		"settings without an end":       flood(20_000, func(uint32) []byte { return http2Frame(settings, 0, 0, []byte{0, 4, 0, 0, 0, 1}) }),
		"pings without an end":          flood(20_000, func(uint32) []byte { return http2Frame(ping, 0, 0, make([]byte, 8)) }),
		"empty data without an end":     flood(20_000, func(uint32) []byte { return http2Frame(data, 0, 1, nil) }),
		"a frame of 16 MiB":             append(bytes.Clone(begin), 0xff, 0xff, 0xff, data, 0, 0, 0, 0, 1),
	}
}

// HTTP/2 is not spoken, with TLS or without, so that its floods are bytes that no request of HTTP/1.1 begins with: each is
// refused at once, and its connection ends. Who adds HTTP/2 has to bound each of them, and finds out here.
func TestAbuseOfHTTP2(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	laptop := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	plainly := laptop.prepare("n9", free[0], free[1], free[2])
	plainly.start()
	laptop.waitHealthy(1)
	s.serves(t)
	s.before = s.use()
	if conn, err := s.dials(t, "h2"); err == nil {
		if got := conn.ConnectionState().NegotiatedProtocol; got != "" {
			t.Errorf("%s was agreed on", got)
		}
		conn.Close()
	}
	for what, text := range http2Floods() {
		t.Run(what, func(t *testing.T) {
			for where, dial := range map[string]func() (net.Conn, error){
				"TLS":       func() (net.Conn, error) { return s.dials(t) },
				"TLS, h2":   func() (net.Conn, error) { return s.dials(t, "h2", "http/1.1") },
				"plain TCP": func() (net.Conn, error) { return net.DialTimeout("tcp", plainly.http, patience) },
			} {
				conn, err := dial()
				if err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				written := make(chan struct{})
				go func() { // which may be cut off, or wait for one that does not read
					defer close(written)
					_, _ = conn.Write(text)
				}()
				said, err := io.ReadAll(io.LimitReader(conn, 1<<20))
				if os.IsTimeout(err) {
					t.Errorf("%s: the connection is still open, after %.100q", where, said)
				}
				if len(said) > 0 && !bytes.HasPrefix(said, []byte("HTTP/1.1 4")) && !bytes.HasPrefix(said, []byte("HTTP/1.1 505")) {
					t.Errorf("%s: it is answered %.100q, want a refusal in HTTP/1.1", where, said)
				}
				conn.Close()
				<-written
			}
			if !s.running() || !plainly.running() {
				t.Fatalf("a coordinator has ended\n%s\n%s", s.tail(), plainly.tail())
			}
			s.serves(t)
		})
	}
	upgrade := plainly.ask("GET", "/v1/leader", "", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAAP__")
	if upgrade.status != http.StatusOK {
		t.Errorf("an upgrade to h2c is answered %d", upgrade.status)
	}
	s.holdsWhatItHeld(10, 25)
}
