package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

func authority(t *testing.T, cluster string) *peer.CA {
	t.Helper()
	ca, err := peer.NewCA(cluster, time.Hour)
	if err != nil {
		t.Fatalf("authority of %s: %v", cluster, err)
	}
	return ca
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// secure starts a port with a member's certificate of ca in a folder of its own.
func secure(t *testing.T, ca *peer.CA, id string) (*peer.Port, string) {
	t.Helper()
	dir := t.TempDir()
	files := must[peer.TLSFiles](t)(ca.WriteMember(dir, id, time.Hour))
	return open(t, id, func(c *peer.Config) { c.TLS = &files }), dir
}

// Members of one authority reach each other in all three ways.
func TestTLSMembers(t *testing.T) {
	t.Parallel()
	ca := authority(t, "c1")
	n1, _ := secure(t, ca, "n1")
	n2, _ := secure(t, ca, "n2")
	n2.Handle("echo", echo)
	big := make([]byte, 3<<20)
	if got, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", big); err != nil || len(got) != len(big) {
		t.Errorf("call: got %d bytes, %v; want %d", len(got), err, len(big))
	}
	link, to, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), "n2")
	if err != nil || to.ID != "n2" {
		t.Fatalf("link: got %+v, %v", to, err)
	}
	defer link.Close()
	in, _, err := n2.AcceptLink()
	if err != nil {
		t.Fatalf("accept link: %v", err)
	}
	defer in.Close()
	link.Write([]byte("hi"))
	got := make([]byte, 2)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "hi" {
		t.Errorf("over the link: got %q, %v", got, err)
	}
	raft, err := n1.RaftLayer().Dial(n2.Addr(), 10*time.Second)
	if err != nil {
		t.Fatalf("raft: %v", err)
	}
	raft.Close()
}

// Whoever is not a member of this cluster by its certificate gets nowhere: the
// handshake ends before a byte of the protocol.
func TestTLSRefused(t *testing.T) {
	t.Parallel()
	ca := authority(t, "c1")
	n2, _ := secure(t, ca, "n2")
	uri := func(s string) *url.URL { return must[*url.URL](t)(url.Parse(s)) }
	member := uri("spiffe://c1/member/n1")
	for situation, cert := range map[string]tls.Certificate{
		"another authority":         signed(t, authority(t, "c1"), both, member),
		"another cluster's":         signed(t, ca, both, uri("spiffe://c2/member/n1")),
		"a component's":             signed(t, ca, both, uri("spiffe://c1/component/n1")),
		"two URIs":                  signed(t, ca, both, member, uri("spiffe://c1/component/n1")),
		"two member URIs":           signed(t, ca, both, member, uri("spiffe://c1/member/n2")),
		"no URI":                    signed(t, ca, both),
		"no id":                     signed(t, ca, both, uri("spiffe://c1/member/")),
		"a path too long":           signed(t, ca, both, uri("spiffe://c1/member/n1/x")),
		"another scheme":            signed(t, ca, both, uri("https://c1/member/n1")),
		"a query":                   signed(t, ca, both, uri("spiffe://c1/member/n1?x")),
		"a role in another case":    signed(t, ca, both, uri("spiffe://c1/Member/n1")),
		"for servers only":          signed(t, ca, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, member),
		"none":                      {},
		"the authority's own":       own(t, ca),
		"issued as a component":     issued(t, ca, "component", "n1"),
		"issued with a nested name": issued(t, ca, "member", "n1/x"),
	} {
		t.Run(situation, func(t *testing.T) {
			c, err := tls.Dial("tcp", n2.Addr(), &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true})
			if err != nil {
				return // refused in the handshake already
			}
			defer c.Close()
			c.Write(hello('C', peer.Hello{Version: wire.Version, ID: "n1", Cluster: "c1"}))
			if got := wantEnd(t, situation, c); len(got) > 0 {
				t.Errorf("certificate: got %q from the port, want nothing", got)
			}
		})
	}
	if got := n2.Stats().Accepted; got != 0 {
		t.Errorf("got %d connections taken, want 0", got)
	}
	// The same certificate by which all of it would have passed.
	c := must[*tls.Conn](t)(tls.Dial("tcp", n2.Addr(), &tls.Config{Certificates: []tls.Certificate{signed(t, ca, both, member)}, InsecureSkipVerify: true}))
	defer c.Close()
	c.Write(hello('C', peer.Hello{Version: wire.Version, ID: "n1", Cluster: "c1"}))
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil || first[0] != '+' {
		t.Errorf("a good certificate: got %q, %v; want +", first, err)
	}
	// An older version of TLS is not spoken.
	if _, err := tls.Dial("tcp", n2.Addr(), &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}); err == nil {
		t.Error("TLS 1.2: got no error")
	}
}

// The dialer is as strict as the acceptor, and names are not borrowed.
func TestTLSDialer(t *testing.T) {
	t.Parallel()
	ca := authority(t, "c1")
	n1, _ := secure(t, ca, "n1")
	stranger, _ := secure(t, authority(t, "c1"), "n2")
	_, _, err := n1.DialLink(within(t, 10*time.Second), stranger.Addr(), "n2")
	wantText(t, "an acceptor of another authority", err, "unknown authority")

	l := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{issued(t, ca, "component", "n2")}}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	_, _, err = n1.DialLink(within(t, 10*time.Second), l.Addr().String(), "n2")
	wantText(t, "an acceptor with a component's certificate", err, `role "component"`)
	l.Close()
	<-done

	files := must[peer.TLSFiles](t)(ca.WriteMember(t.TempDir(), "n3", time.Hour))
	liar := open(t, "n1", func(c *peer.Config) { c.TLS = &files })
	n2, _ := secure(t, ca, "n2")
	_, _, err = liar.DialLink(within(t, 10*time.Second), n2.Addr(), "")
	wantText(t, "n3 that says it is n1", err, `"n1" says hello with the certificate of "n3"`)
}

// Plain and TLS do not mix, and both sides learn why.
func TestTLSAndPlain(t *testing.T) {
	t.Parallel()
	n1 := open(t, "n1")
	n2, _ := secure(t, authority(t, "c1"), "n2")
	_, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), "")
	wantText(t, "a plain client at a TLS port", err, "this port speaks TLS only")
	_, _, err = n2.DialLink(within(t, 10*time.Second), n1.Addr(), "")
	wantText(t, "a TLS client at a plain port", err, "tls: ")
	for _, p := range []*peer.Port{n1, n2} {
		eventually(t, "one connection is counted as refused, none as taken", func() bool {
			got := p.Stats()
			return got.Accepted == 0 && got.Refused == 1
		})
	}
}

// Files are taken into use when they change: a new leaf, then a new authority
// by way of trusting both. Bad files change nothing.
func TestTLSRotation(t *testing.T) {
	t.Parallel()
	before, after := authority(t, "c1"), authority(t, "c1")
	n1, dir1 := secure(t, before, "n1")
	n2, dir2 := secure(t, before, "n2")
	reach := func(situation string) {
		t.Helper()
		for _, d := range [][2]*peer.Port{{n1, n2}, {n2, n1}} {
			c, _, err := d[0].DialLink(within(t, 10*time.Second), d[1].Addr(), "")
			if err != nil {
				t.Errorf("%s: %v", situation, err)
				continue
			}
			c.Close()
		}
	}
	reach("before")
	serial := func(p *peer.Port) *big.Int {
		t.Helper()
		c := must[*tls.Conn](t)(tls.Dial("tcp", p.Addr(), &tls.Config{InsecureSkipVerify: true}))
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber
	}
	old := serial(n1)
	must[peer.TLSFiles](t)(before.WriteMember(dir1, "n1", time.Hour))
	if now := serial(n1); now.Cmp(old) == 0 {
		t.Error("a new leaf was written: the old one is still shown")
	}
	reach("new leaf of n1")

	old = serial(n1)
	write(t, dir1+"/key.pem", []byte("half a key"))
	reach("a bad key of n1")
	if now := serial(n1); now.Cmp(old) != 0 {
		t.Error("a bad key was written: the certificate changed")
	}
	os.Remove(dir1 + "/cert.pem")
	reach("no certificate of n1")

	rootBefore, _, _ := before.PEM()
	rootAfter, _, _ := after.PEM()
	for _, dir := range []string{dir1, dir2} {
		write(t, dir+"/ca.pem", append(append([]byte{}, rootBefore...), rootAfter...))
	}
	must[peer.TLSFiles](t)(before.WriteMember(dir1, "n1", time.Hour))
	write(t, dir1+"/ca.pem", append(append([]byte{}, rootBefore...), rootAfter...))
	reach("both trust both")
	must[peer.TLSFiles](t)(after.WriteMember(dir2, "n2", time.Hour))
	write(t, dir2+"/ca.pem", append(append([]byte{}, rootBefore...), rootAfter...))
	reach("n2 has a leaf of the new authority")
	must[peer.TLSFiles](t)(after.WriteMember(dir1, "n1", time.Hour))
	must[peer.TLSFiles](t)(after.WriteMember(dir2, "n2", time.Hour))
	reach("only the new authority is left")
	stale, _ := secure(t, before, "n3")
	_, _, err := stale.DialLink(within(t, 10*time.Second), n1.Addr(), "")
	if err == nil {
		t.Error("a member of the old authority after the change: got no error")
	}
}

// Calls move to a connection with the new certificate within MaxAge, and none
// of them fails.
func TestTLSCallsAreMadeAnew(t *testing.T) {
	t.Parallel()
	ca := authority(t, "c1")
	files := must[peer.TLSFiles](t)(ca.WriteMember(t.TempDir(), "n1", time.Hour))
	n1 := open(t, "n1", limits(peer.Limits{MaxAge: 20 * time.Millisecond}), func(c *peer.Config) { c.TLS = &files })
	theirs := must[peer.TLSFiles](t)(ca.WriteMember(t.TempDir(), "n2", time.Hour))
	var connections atomic.Int64
	n2 := open(t, "n2", func(c *peer.Config) {
		c.TLS = &theirs
		c.Admit = func(_ peer.Kind, method string, _ peer.Hello) error {
			if method == "" {
				connections.Add(1)
			}
			return nil
		}
	})
	n2.Handle("echo", echo)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if _, err := n1.Call(within(t, 10*time.Second), n2.Addr(), "echo", nil); err != nil {
			t.Fatalf("a call while connections are made anew: %v", err)
		}
	}
	if got := connections.Load(); got < 2 {
		t.Errorf("connections over many times MaxAge: got %d, want at least 2", got)
	}
	eventually(t, "at most the newest connection is left", func() bool { return n2.Stats().Accepted <= 1 })
}

// An authority that was written to files issues for the same cluster again.
func TestLoadCA(t *testing.T) {
	t.Parallel()
	ca := authority(t, "c1")
	cert, key, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := peer.LoadCA(cert, key)
	if err != nil || again.Cluster() != "c1" {
		t.Fatalf("load: got %v, %v", again, err)
	}
	n1, _ := secure(t, ca, "n1")
	n2, _ := secure(t, again, "n2")
	c, _, err := n1.DialLink(within(t, 10*time.Second), n2.Addr(), "n2")
	if err != nil {
		t.Fatalf("link between members of both: %v", err)
	}
	c.Close()
	_, other, _ := authority(t, "c1").PEM()
	for situation, pair := range map[string][2][]byte{"nothing": {nil, nil}, "another's key": {cert, other}, "swapped": {key, cert}} {
		if _, err := peer.LoadCA(pair[0], pair[1]); err == nil {
			t.Errorf("load of %s: got no error", situation)
		}
	}
	for _, name := range []string{"", "a/b", "a b", "a@b", "a?b", "a#b"} {
		if _, err := peer.NewCA(name, time.Hour); err == nil {
			t.Errorf("authority of cluster %q: got no error", name)
		}
	}
}

// A port does not start with a certificate that others would refuse.
func TestTLSListenRefuses(t *testing.T) {
	t.Parallel()
	ca := authority(t, "c1")
	dir := t.TempDir()
	files := must[peer.TLSFiles](t)(ca.WriteMember(dir, "n1", time.Hour))
	listen := func() error {
		p, err := peer.Listen(peer.Config{Addr: "127.0.0.1:0", TLS: &files, Self: func() peer.Hello { return peer.Hello{} }})
		if err == nil {
			p.Close()
		}
		return err
	}
	if err := listen(); err != nil {
		t.Fatalf("good files: %v", err)
	}
	cert, key, _ := ca.Issue("component", "n1", time.Hour)
	write(t, files.Cert, cert)
	wantText(t, "certificate without its key", listen(), "private key")
	write(t, files.Key, key)
	wantText(t, "component's certificate", listen(), `role "component"`)
	cert, key, _ = ca.Issue("member", "n1", -time.Second)
	write(t, files.Cert, cert)
	write(t, files.Key, key)
	wantText(t, "expired certificate", listen(), "expired")
	write(t, files.CA, []byte("nothing"))
	wantText(t, "no authority", listen(), "no certificate in it")
	for _, f := range []string{files.CA, files.Cert, files.Key} {
		write(t, f, nil)
	}
	wantText(t, "three empty files", listen(), "no certificate in it")
}

var both = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

// signed is a certificate of ca with any URIs, as a careless authority would
// issue it.
func signed(t *testing.T, ca *peer.CA, usage []x509.ExtKeyUsage, uris ...*url.URL) tls.Certificate {
	t.Helper()
	root := own(t, ca)
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: uris, ExtKeyUsage: usage,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, root.Leaf, key.Public(), root.PrivateKey))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func own(t *testing.T, ca *peer.CA) tls.Certificate {
	t.Helper()
	cert, key, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	return must[tls.Certificate](t)(tls.X509KeyPair(cert, key))
}

func issued(t *testing.T, ca *peer.CA, role, id string) tls.Certificate {
	t.Helper()
	cert, key, err := ca.Issue(role, id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := pem.Decode(cert); b == nil {
		t.Fatal("issued certificate is no PEM")
	}
	return must[tls.Certificate](t)(tls.X509KeyPair(cert, key))
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
