package peer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

func authorityOf(t *testing.T, cluster string) *authority.CA {
	t.Helper()
	ca, err := authority.New(cluster, time.Hour)
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
func secure(t *testing.T, ca *authority.CA, id string) (*peer.Port, string) {
	t.Helper()
	dir := t.TempDir()
	files := writeMember(t, ca, dir, id)
	return open(t, id, func(c *peer.Config) { c.TLS = watch(t, files) }), dir
}

// Members of one authority reach each other in all three ways.
func TestTLSMembers(t *testing.T) {
	t.Parallel()
	ca := authorityOf(t, "c1")
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
	ca := authorityOf(t, "c1")
	n2, _ := secure(t, ca, "n2")
	uri := func(s string) *url.URL { return must[*url.URL](t)(url.Parse(s)) }
	member := uri("spiffe://c1/member/n1")
	for situation, c := range map[string]struct {
		cert   tls.Certificate
		reason peer.Reason
	}{
		"another authority":      {signed(t, authorityOf(t, "c1"), both, member), peer.ReasonUnknownAuthority},
		"another cluster's":      {signed(t, ca, both, uri("spiffe://c2/member/n1")), peer.ReasonCluster},
		"a component's":          {signed(t, ca, both, uri("spiffe://c1/component/n1")), peer.ReasonRole},
		"two URIs":               {signed(t, ca, both, member, uri("spiffe://c1/component/n1")), peer.ReasonURIs},
		"two member URIs":        {signed(t, ca, both, member, uri("spiffe://c1/member/n2")), peer.ReasonURIs},
		"no URI":                 {signed(t, ca, both), peer.ReasonURIs},
		"no id":                  {signed(t, ca, both, uri("spiffe://c1/member/")), peer.ReasonURIs},
		"a path too long":        {signed(t, ca, both, uri("spiffe://c1/member/n1/x")), peer.ReasonURIs},
		"another scheme":         {signed(t, ca, both, uri("https://c1/member/n1")), peer.ReasonURIs},
		"a query":                {signed(t, ca, both, uri("spiffe://c1/member/n1?x")), peer.ReasonURIs},
		"a role in another case": {signed(t, ca, both, uri("spiffe://c1/Member/n1")), peer.ReasonRole},
		"for servers only":       {signed(t, ca, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, member), peer.ReasonPurpose},
		"none":                   {tls.Certificate{}, peer.ReasonNoCertificate},
		"the authority's own":    {rootOf(t, ca), peer.ReasonURIs},
		"issued as a component":  {issued(t, ca, "component", "n1", time.Hour), peer.ReasonRole},
		"issued as a client":     {issued(t, ca, authority.RoleClient, "n1", time.Hour), peer.ReasonRole},
		"expired":                {issued(t, ca, authority.RoleMember, "n1", -time.Second), peer.ReasonExpired},
		"signed by itself":       {rootOf(t, authorityOf(t, "c1")), peer.ReasonSelfSigned},
	} {
		t.Run(situation, func(t *testing.T) {
			before := n2.Refused()[c.reason]
			conn, err := tls.Dial("tcp", n2.Addr(), &tls.Config{Certificates: []tls.Certificate{c.cert}, InsecureSkipVerify: true})
			if err == nil { // else it is refused in the handshake already
				defer conn.Close()
				conn.Write(hello('C', peer.Hello{Version: wire.Version, ID: "n1", Cluster: "c1"}))
				if got := wantEnd(t, situation, conn); len(got) > 0 {
					t.Errorf("certificate: got %q from the port, want nothing", got)
				}
			}
			eventually(t, "it is counted as "+string(c.reason), func() bool { return n2.Refused()[c.reason] == before+1 })
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
	// A server's id belongs to the coordinator of its certificate, too.
	borrowed := must[*tls.Conn](t)(tls.Dial("tcp", n2.Addr(), &tls.Config{Certificates: []tls.Certificate{signed(t, ca, both, member)}, InsecureSkipVerify: true}))
	defer borrowed.Close()
	before := n2.Refused()[peer.ReasonID]
	borrowed.Write(hello('C', peer.Hello{Version: wire.Version, ID: "n1", ServerID: "n3/1f", Cluster: "c1"}))
	if _, err := io.ReadFull(borrowed, first); err != nil || first[0] == '+' {
		t.Errorf("n1's certificate under n3's server id: got %q, %v; want a refusal", first, err)
	}
	eventually(t, "that is counted", func() bool { return n2.Refused()[peer.ReasonID] == before+1 })
	// An older version of TLS is not spoken.
	if _, err := tls.Dial("tcp", n2.Addr(), &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true}); err == nil {
		t.Error("TLS 1.2: got no error")
	}
	eventually(t, "that is counted", func() bool { return n2.Refused()[peer.ReasonTLS] == 1 })
}

// The dialer is as strict as the acceptor, and names are not borrowed.
func TestTLSDialer(t *testing.T) {
	t.Parallel()
	ca := authorityOf(t, "c1")
	n1, _ := secure(t, ca, "n1")
	stranger, _ := secure(t, authorityOf(t, "c1"), "n2")
	_, _, err := n1.DialLink(within(t, 10*time.Second), stranger.Addr(), "n2")
	wantText(t, "an acceptor of another authority", err, "unknown authority")

	l := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{issued(t, ca, "component", "n2", time.Hour)}}))
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

	files := writeMember(t, ca, t.TempDir(), "n3")
	liar := open(t, "n1", func(c *peer.Config) { c.TLS = watch(t, files) })
	n2, _ := secure(t, ca, "n2")
	_, _, err = liar.DialLink(within(t, 10*time.Second), n2.Addr(), "")
	wantText(t, "n3 that says it is n1", err, `"n1" says hello with the certificate of "n3"`)
}

// Plain and TLS do not mix, and both sides learn why.
func TestTLSAndPlain(t *testing.T) {
	t.Parallel()
	n1 := open(t, "n1")
	n2, _ := secure(t, authorityOf(t, "c1"), "n2")
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
	before, after := authorityOf(t, "c1"), authorityOf(t, "c1")
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
	writeMember(t, before, dir1, "n1")
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
	writeMember(t, before, dir1, "n1")
	write(t, dir1+"/ca.pem", append(append([]byte{}, rootBefore...), rootAfter...))
	reach("both trust both")
	writeMember(t, after, dir2, "n2")
	write(t, dir2+"/ca.pem", append(append([]byte{}, rootBefore...), rootAfter...))
	reach("n2 has a leaf of the new authority")
	writeMember(t, after, dir1, "n1")
	writeMember(t, after, dir2, "n2")
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
	ca := authorityOf(t, "c1")
	files := writeMember(t, ca, t.TempDir(), "n1")
	n1 := open(t, "n1", limits(peer.Limits{MaxAge: 20 * time.Millisecond}), func(c *peer.Config) { c.TLS = watch(t, files) })
	theirs := writeMember(t, ca, t.TempDir(), "n2")
	var connections atomic.Int64
	n2 := open(t, "n2", func(c *peer.Config) {
		c.TLS = watch(t, theirs)
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

// A port does not start with a certificate that others would refuse.
func TestTLSListenRefuses(t *testing.T) {
	t.Parallel()
	ca := authorityOf(t, "c1")
	files := writeMember(t, ca, t.TempDir(), "n1")
	listen := func() error {
		w, err := certfile.Open("peer", own(files), slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		p, err := peer.Listen(peer.Config{Addr: "127.0.0.1:0", TLS: w.Current, Self: func() peer.Hello { return peer.Hello{} }})
		if err == nil {
			p.Close()
		}
		return err
	}
	if err := listen(); err != nil {
		t.Fatalf("good files: %v", err)
	}
	cert, key, _ := ca.Issue(authority.Leaf{Role: "component", ID: "n1", Life: time.Hour})
	write(t, files.Cert, cert)
	wantText(t, "certificate without its key", listen(), "private key")
	write(t, files.Key, key)
	wantText(t, "component's certificate", listen(), `role "component"`)
	cert, key, _ = ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: "n2", Life: time.Hour})
	write(t, files.Cert, cert)
	write(t, files.Key, key)
	wantText(t, "another's certificate", listen(), `certificate of spiffe://c1/member/n2, and this coordinator is "n1"`)
	cert, key, _ = ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: -time.Second})
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

// own is the files of n1's certificate.
func own(f certfile.Files) certfile.Source {
	return certfile.Source{CA: f.CA, Pairs: []certfile.Pair{f.Pair}, Check: func(c *certfile.Content) error { return peer.CheckOwn(c, "n1") }}
}

// watch reads the files before every handshake.
func watch(t *testing.T, f certfile.Files) func() *certfile.Content {
	t.Helper()
	source := own(f)
	source.Check = func(c *certfile.Content) error { return peer.CheckOwn(c, "") }
	w := must[*certfile.Watcher](t)(certfile.Open("peer", source, slog.New(slog.DiscardHandler)))
	return func() *certfile.Content {
		_ = w.Reload()
		return w.Current()
	}
}

func writeMember(t *testing.T, ca *authority.CA, dir, id string) certfile.Files {
	t.Helper()
	files := certfile.In(dir)
	if err := files.Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: id, Life: time.Hour}, nil); err != nil {
		t.Fatal(err)
	}
	return files
}

var both = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

// signed is a certificate of ca with any URIs, as a careless authority would
// issue it.
func signed(t *testing.T, ca *authority.CA, usage []x509.ExtKeyUsage, uris ...*url.URL) tls.Certificate {
	t.Helper()
	root := rootOf(t, ca)
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: uris, ExtKeyUsage: usage,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, root.Leaf, key.Public(), root.PrivateKey))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func rootOf(t *testing.T, ca *authority.CA) tls.Certificate {
	t.Helper()
	cert, key, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	return must[tls.Certificate](t)(tls.X509KeyPair(cert, key))
}

func issued(t *testing.T, ca *authority.CA, role, id string, life time.Duration) tls.Certificate {
	t.Helper()
	cert, key, err := ca.Issue(authority.Leaf{Role: role, ID: id, Life: life})
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
