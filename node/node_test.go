package node_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
)

const token = "a-token-that-nobody-guesses-in-time"

// freeAddrs returns addresses of loopback that nobody listened on just now.
func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// run opens a node and serves until the test ends; Run and Close must be
// clean.
func run(t *testing.T, cfg node.Config) *node.Node {
	t.Helper()
	n, _ := start(t, cfg)
	return n
}

// start is run with a way to end the node before the test does.
func start(t *testing.T, cfg node.Config) (_ *node.Node, stop func()) {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	n, err := node.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run %s: %v", cfg.ID, err)
		}
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := n.Close(end); err != nil {
			t.Errorf("close %s: %v", cfg.ID, err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

func ready(t *testing.T, nodes ...*node.Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n.Addrs().ID+" is ready", n.Ready)
	}
}

// One alone opens, answers, runs a job by its own worker, and leaves nothing
// behind when it closes.
func TestOneNodeOpensAnswersAndCloses(t *testing.T) {
	n := run(t, node.Config{ID: "solo", DataDir: t.TempDir(), Worker: true, Slots: 1, Version: "v1.2.3"})
	ready(t, n)
	c := clientOf(t, "", n)
	status, _, err := c.Status(t.Context())
	if err != nil || status.Level != fsm.Level {
		t.Errorf("a cluster that is founded by this binary alone is at level %d (%v), want %d", status.Level, err, fsm.Level)
	}
	job, _, err := c.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "echo $((ITEM + 1))", Items: rawItems("1", "2", "3")})
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for r, err := range c.Results(t.Context(), job.ID, true) {
		if err != nil || r.State != "done" {
			t.Fatalf("result %+v, %v", r, err)
		}
		var v int
		fmt.Sscan(string(r.Result), &v)
		sum += v
	}
	if sum != 9 {
		t.Errorf("2 + 3 + 4 is %d", sum)
	}
	// The operator's port tells its health and the numbers of every part, the
	// log store's and the Raft library's among them.
	for path, want := range map[string][]string{
		"/livez": {"ok"}, "/readyz": {"ok"}, "/startupz": {"ok"},
		"/metrics": {`folkmoot_writes_total{outcome="done"}`, `folkmoot_jobs{state="done"} 1`, `folkmoot_message_refusals_total{code="busy"} 0`, "folkmoot_links_opened_total 0", "folkmoot_http_requests_total", "folkmoot_is_leader 1", "folkmoot_leader_known 1", "folkmoot_last_contact_seconds 0", `folkmoot_member_healthy{coordinator="solo"} 1`, "folkmoot_voters 1", "folkmoot_members 1", fmt.Sprintf(`folkmoot_build_info{level="%d",version="v1.2.3"} 1`, fsm.Level), `folkmoot_slow_consumers_total{door="native"} 0`, `folkmoot_native_total{what="slow"} 0`, "folkmoot_native_connections ", "folkmoot_disk_free_bytes ", "folkmoot_disk_low ", "raft_boltdb_", "raft_commitTime", "go_goroutines"},
	} {
		resp, err := http.Get("http://" + n.Addrs().Ops + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		for _, w := range want {
			if resp.StatusCode != 200 || !strings.Contains(string(body), w) {
				t.Errorf("%s: %s without %q", path, resp.Status, w)
			}
		}
	}
	outcomes := samples(t, n, "folkmoot_messages_total")
	if want := []string{`{outcome="delivered"}`, `{outcome="receiver_unknown"}`, `{outcome="refused"}`, `{outcome="unknown"}`}; !slices.Equal(outcomes, want) {
		t.Errorf("messages are counted by %q, want by outcome alone: %q", outcomes, want)
	}
	st, meta, err := c.Status(t.Context())
	if err != nil || st.SlowConsumers == nil || !strings.Contains(string(meta.Body), `"slow_consumers":{"doors":{"native":0}}`) {
		t.Errorf("status %s, %v: want slow_consumers with none of the native door", meta.Body, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// samples returns the labels of all samples of a metric, sorted as they come.
func samples(t *testing.T, n *node.Node, name string) (labels []string) {
	t.Helper()
	for _, line := range metric(t, n, name+"{") {
		of, _, _ := strings.Cut(strings.TrimPrefix(line, name), " ")
		labels = append(labels, of)
	}
	return labels
}

func rawItems(items ...string) (out []json.RawMessage) {
	for _, i := range items {
		out = append(out, json.RawMessage(i))
	}
	return out
}

// Three with certificates and tokens: every door is locked, and all of it
// works, the own worker included.
func TestThreeNodesBehindLocks(t *testing.T) {
	dir := t.TempDir()
	ca, err := authority.New("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	tokens := tokenFile(t, "# operators", token)
	peers := freeAddrs(t, 3)
	var nodes []*node.Node
	var addrs []string
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		if err := os.Mkdir(filepath.Join(dir, id+"-keys"), 0o700); err != nil {
			t.Fatal(err)
		}
		files := certfile.In(filepath.Join(dir, id+"-keys"))
		err = files.Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: id, Life: time.Hour}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := run(t, node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: peers[i], Join: peers, Expect: 3, Worker: true, Slots: 1,
			PeerCA: files.CA, PeerCert: files.Cert, PeerKey: files.Key, HTTPCert: files.Cert, HTTPKey: files.Key, TokenFile: tokens, // one certificate is enough for a test
		})
		nodes = append(nodes, n)
		addrs = append(addrs, "https://"+n.Addrs().HTTP)
	}
	ready(t, nodes...)

	trust := &tls.Config{InsecureSkipVerify: true} // the certificates here name members, not hosts
	open, err := client.New(client.Config{Addrs: addrs, TLS: trust, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, _, err := open.SignIn(t.Context(), wire.SignIn{Name: "laser"}, ""); err != nil {
		t.Errorf("sign-in with token: %v", err)
	}
	job, _, err := open.Submit(t.Context(), wire.SubmitJob{Runtime: "sh", Script: "echo $ITEM", Items: rawItems("1", "2", "3", "4")})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range open.Results(t.Context(), job.ID, true) {
		if err != nil || r.State != "done" {
			t.Fatalf("result %+v, %v", r, err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d of 4 parts were done by the own workers", n)
	}
	for what, wrong := range map[string]string{"no token": "", "a wrong token": "some-other-token-of-no-use"} {
		c, err := client.New(client.Config{Addrs: addrs, TLS: trust, Token: wrong, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Members(t.Context(), client.Read{}); wire.CodeOf(err) != wire.CodeUnauthorized {
			t.Errorf("%s: got %v, want unauthorized", what, err)
		}
		c.Close()
	}
	// A plain-text stranger at the peer port gets nowhere.
	conn, err := net.Dial("tcp", peers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Write([]byte("Rhello")); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(conn); err == nil && strings.Contains(string(b), "cluster") {
		t.Errorf("a stranger was told %q", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a stranger is kept on the line")
	}
}

// A coordinator is called by many names: the operator's port takes every one,
// REST all that no page can have got by binding a name of its own to loopback.
func TestNamesOfHosts(t *testing.T) {
	tokens := tokenFile(t, token)
	cert, key := certificate(t, "n1.lab")
	get := func(url, host string) (int, string) {
		t.Helper()
		rq, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		rq.Host = host
		rq.Header.Set("Authorization", "Bearer "+token)
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		defer transport.CloseIdleConnections()
		rs, err := (&http.Client{Transport: transport}).Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		defer rs.Body.Close()
		body, _ := io.ReadAll(rs.Body)
		return rs.StatusCode, string(body)
	}
	for what, c := range map[string]struct {
		cfg  node.Config
		want int
	}{
		"loopback alone":        {node.Config{}, 403},
		"--http-hosts":          {node.Config{HTTPHosts: []string{"N1.lab"}}, 200},
		"--http-hosts, another": {node.Config{HTTPHosts: []string{"n2.lab"}}, 403},
		"--http-hosts, any":     {node.Config{HTTPHosts: []string{"*"}}, 200},
		"the advertised name":   {node.Config{Advertise: "n1.lab:7300"}, 200},
		"tokens":                {node.Config{TokenFile: tokens}, 200},
		"a certificate":         {node.Config{HTTPCert: cert, HTTPKey: key}, 200},
	} {
		c.cfg.ID, c.cfg.DataDir = "n1", t.TempDir()
		n := run(t, c.cfg)
		scheme := "http://"
		if c.cfg.HTTPCert != "" {
			scheme = "https://"
		}
		code, said := get(scheme+n.Addrs().HTTP+"/v1/status", "n1.lab:7380")
		if code != c.want || code == 403 && !strings.Contains(said, "--http-hosts") {
			t.Errorf("%s: /v1/status of n1.lab: %d %s, want %d", what, code, said, c.want)
		}
		for _, path := range []string{"/livez", "/metrics"} {
			if code, said := get("http://"+n.Addrs().Ops+path, "n1.lab:7390"); code != 200 {
				t.Errorf("%s: %s of n1.lab: %d %s, want 200", what, path, code, said)
			}
		}
	}
}

// A session moves to another coordinator by the name that one was given, where
// certificates are made out to names alone.
func TestSessionsMoveByName(t *testing.T) {
	dir := t.TempDir()
	tokens := tokenFile(t, token)
	cert, key := certificate(t, "localhost")
	peers := freeAddrs(t, 3)
	var nodes []*node.Node
	var stop func()
	for i := range 3 {
		id := fmt.Sprintf("n%d", i+1)
		_, port, _ := net.SplitHostPort(peers[i])
		n, end := start(t, node.Config{
			ID: id, DataDir: filepath.Join(dir, id), PeerAddr: "localhost:" + port, Join: peers, Expect: 3,
			HTTPAddr: "localhost:0", ComponentAddr: "localhost:0", LECOAddr: "localhost:0",
			HTTPCert: cert, HTTPKey: key, TokenFile: tokens,
		})
		if nodes = append(nodes, n); i == 0 {
			stop = end
		}
	}
	ready(t, nodes...)
	for door, addr := range map[string]string{
		"REST": nodes[1].Addrs().HTTP, "native": nodes[1].Addrs().Component, "peers": nodes[1].Addrs().Peer, "LECO": nodes[1].Addrs().LECO,
	} {
		if host, _, _ := net.SplitHostPort(addr); host != "localhost" {
			t.Errorf("the door of %s is announced as %s, want localhost", door, addr)
		}
	}
	trust, err := client.LoadTLS(cert, "", "")
	if err != nil {
		t.Fatal(err)
	}
	entering, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, port, _ := net.SplitHostPort(nodes[0].Addrs().Component)
	laser, err := client.Dial(entering, client.Component{
		Addrs: []string{"localhost:" + port}, SignIn: wire.SignIn{Name: "laser", Lease: wire.Duration(time.Minute)}, Token: token, TLS: trust,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer laser.Close(t.Context())
	stop()
	for deadline := time.Now().Add(50 * time.Second); laser.Moves() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) || laser.Err() != nil {
			t.Fatalf("the session did not move to one of %+v: %v", laser.Welcome().Coordinators, laser.Err())
		}
	}

	// By another name TLS fails, and the error says so even if other addresses are dead.
	_, port, _ = net.SplitHostPort(nodes[1].Addrs().Component)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err = client.Dial(ctx, client.Component{
		Addrs: []string{"127.0.0.1:" + port, freeAddrs(t, 1)[0]}, SignIn: wire.SignIn{Name: "camera"}, Token: token, TLS: trust,
	})
	if err == nil || !strings.Contains(err.Error(), "tls: ") || !strings.Contains(err.Error(), "127.0.0.1:"+port) {
		t.Errorf("a sign-in by the address of who has a name: %v, want the failure of TLS with that address", err)
	}
	_, port, _ = net.SplitHostPort(nodes[1].Addrs().HTTP)
	c, err := client.New(client.Config{Addrs: []string{"127.0.0.1:" + port, freeAddrs(t, 1)[0]}, Token: token, TLS: trust, Silent: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Leader(t.Context()); err == nil || !strings.Contains(err.Error(), "tls: ") || !strings.Contains(err.Error(), port) {
		t.Errorf("a call by the address of who has a name: %v, want the failure of TLS with that address", err)
	}
}

// certificate writes a certificate that is its own authority for one name.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// What cannot be opened is named, and nothing is left open.
func TestOpenNamesWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]node.Config{
		"--http-addr":  {HTTPAddr: taken.Addr().String()},
		"--ops-addr":   {OpsAddr: taken.Addr().String()},
		"--peer-addr":  {PeerAddr: taken.Addr().String()},
		"--data-dir":   {DataDir: file},
		"--token-file": {TokenFile: file},
		"--http-cert":  {HTTPCert: file, HTTPKey: file},
		"--peer-cert":  {PeerCA: file, PeerCert: file, PeerKey: file},
	} {
		if cfg.DataDir == "" {
			cfg.DataDir = t.TempDir()
		}
		cfg.ID, cfg.Logger = "n1", slog.New(slog.DiscardHandler)
		n, err := node.Open(t.Context(), cfg)
		if err == nil {
			n.Close(t.Context())
			t.Errorf("%s: opened", want)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error naming %s", err, want)
		}
	}
}

// A token file that cannot be used is refused before anything is written: a typo founds no cluster.
func TestABadTokenFileFoundsNothing(t *testing.T) {
	dir := t.TempDir()
	short := tokenFile(t, "too-short")
	for _, file := range []string{filepath.Join(dir, "typo"), short, dir} {
		data := filepath.Join(dir, "data")
		n, err := node.Open(t.Context(), node.Config{ID: "n1", DataDir: data, TokenFile: file, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			n.Close(t.Context())
			t.Fatalf("%s: opened", file)
		}
		var usage *node.ConfigError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--token-file "+file) {
			t.Errorf("%s: got %v, want a usage error naming flag and file", file, err)
		}
		if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the data directory was touched: %v", file, err)
		}
	}
}
