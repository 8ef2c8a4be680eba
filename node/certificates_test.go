package node_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/node"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/durable"
)

func newAuthority(t *testing.T) *authority.CA {
	t.Helper()
	ca, err := authority.New("lab", 24*time.Hour)
	must(t, err)
	return ca
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tlsDir is a directory with a certificate of a member.
func tlsDir(t *testing.T, ca *authority.CA, id string, life time.Duration) certfile.Files {
	t.Helper()
	f := certfile.In(t.TempDir())
	must(t, f.Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: id, Life: life}, nil))
	return f
}

// ownCA is a directory with an authority and nothing else.
func ownCA(t *testing.T, ca *authority.CA) string {
	t.Helper()
	dir := t.TempDir()
	cert, key, err := ca.PEM()
	must(t, err)
	must(t, durable.WriteText(filepath.Join(dir, certfile.CAFile), cert))
	must(t, durable.WriteText(filepath.Join(dir, certfile.CAKeyFile), key))
	return dir
}

func dirOf(f certfile.Files) string { return filepath.Dir(f.CA) }

// A file that cannot be used ends the start as a wrong configuration, and leaves no data directory behind.
func TestWrongCertificatesFoundNothing(t *testing.T) {
	ca := newAuthority(t)
	good := func() certfile.Files { return tlsDir(t, ca, "n1", time.Hour) }
	changed := func(change func(f certfile.Files)) string {
		f := good()
		change(f)
		return dirOf(f)
	}
	expired, open, foreign := tlsDir(t, ca, "n1", -time.Second), good(), tlsDir(t, ca, "n2", time.Hour)
	must(t, os.Chmod(open.Key, 0o644))
	openCA := ownCA(t, ca)
	must(t, os.Chmod(filepath.Join(openCA, certfile.CAKeyFile), 0o604))
	for situation, c := range map[string]struct {
		cfg  node.Config
		want string
	}{
		"no such directory":         {node.Config{TLSDir: filepath.Join(t.TempDir(), "none")}, "--tls-dir"},
		"an empty directory":        {node.Config{TLSDir: t.TempDir()}, "ca.pem"},
		"authorities alone":         {node.Config{TLSDir: changed(func(f certfile.Files) { must(t, errors.Join(os.Remove(f.Cert), os.Remove(f.Key))) })}, "raftctl ca issue"},
		"no key":                    {node.Config{TLSDir: changed(func(f certfile.Files) { must(t, os.Remove(f.Key)) })}, "key.pem"},
		"expired":                   {node.Config{TLSDir: dirOf(expired)}, "has expired"},
		"another id's":              {node.Config{TLSDir: dirOf(foreign)}, `this coordinator is "n1"`},
		"a key open to all":         {node.Config{TLSDir: dirOf(open)}, "chmod 0600"},
		"an authority's key open":   {node.Config{TLSDir: openCA}, "chmod 0600"},
		"expired, peer port":        {node.Config{PeerCA: expired.CA, PeerCert: expired.Cert, PeerKey: expired.Key}, "--peer-cert"},
		"another id's, peer port":   {node.Config{PeerCA: foreign.CA, PeerCert: foreign.Cert, PeerKey: foreign.Key}, "--peer-cert"},
		"expired, REST":             {node.Config{HTTPCert: expired.Cert, HTTPKey: expired.Key}, "--http-cert"},
		"a key open to all, REST":   {node.Config{HTTPCert: open.Cert, HTTPKey: open.Key}, "chmod 0600"},
		"no authority for clients":  {node.Config{TLSDir: dirOf(good()), HTTPClientCA: filepath.Join(t.TempDir(), "none")}, "--http-client-ca"},
		"clients' without TLS":      {node.Config{HTTPClientCA: good().CA}, "--http-client-ca needs"},
		"hosts without a directory": {node.Config{TLSHosts: []string{"n1.lab"}}, "--tls-hosts needs"},
		"hosts that are none":       {node.Config{TLSDir: dirOf(good()), TLSHosts: []string{"a b"}}, "--tls-hosts"},
		"a key of another authority": {node.Config{TLSDir: func() string {
			d := ownCA(t, ca)
			_, key, _ := newAuthority(t).PEM()
			must(t, durable.WriteText(filepath.Join(d, certfile.CAKeyFile), key))
			return d
		}()}, "belongs to the key"},
	} {
		c.cfg.ID, c.cfg.DataDir, c.cfg.Logger = "n1", filepath.Join(t.TempDir(), "data"), slog.New(slog.DiscardHandler)
		n, err := node.Open(t.Context(), c.cfg)
		if err == nil {
			n.Close(t.Context())
			t.Errorf("%s: opened", situation)
			continue
		}
		var config *node.ConfigError
		if !errors.As(err, &config) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error of the configuration that says %q", situation, err, c.want)
		}
		if _, err := os.Stat(c.cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a data directory was made: %v", situation, err)
		}
	}
}

// served is the serial number of the certificate that is shown at an address.
func served(t *testing.T, addr string) *big.Int {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber
}

// Every port shows a changed certificate, whichever flags name its files; a change that is no use is counted, and
// changes nothing.
func TestCertificatesAreReadAgainForEveryPort(t *testing.T) {
	ca := newAuthority(t)
	all, peers, public := tlsDir(t, ca, "n1", time.Hour), tlsDir(t, ca, "n1", time.Hour), tlsDir(t, ca, "n1", time.Hour)
	for situation, c := range map[string]struct {
		cfg   node.Config
		files []certfile.Files
	}{
		"one directory": {node.Config{TLSDir: dirOf(all)}, []certfile.Files{all}},
		"single files":  {node.Config{PeerCA: peers.CA, PeerCert: peers.Cert, PeerKey: peers.Key, HTTPCert: public.Cert, HTTPKey: public.Key}, []certfile.Files{peers, public}},
	} {
		c.cfg.ID, c.cfg.DataDir = "n1", t.TempDir()
		n := run(t, c.cfg)
		ports := map[string]string{"peer": n.Addrs().Peer, "http": n.Addrs().HTTP, "component": n.Addrs().Component}
		before := map[string]*big.Int{}
		for port, addr := range ports {
			before[port] = served(t, addr)
		}
		if got := metric(t, n, "folkmoot_certificate_expiry_timestamp_seconds"); len(got) != 3 {
			t.Errorf("%s: metrics of the end: %q, want three ports", situation, got)
		}
		for _, f := range c.files {
			must(t, f.Issue(ca, authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: 2 * time.Hour}, nil))
		}
		n.Reload()
		for port, addr := range ports {
			if served(t, addr).Cmp(before[port]) == 0 {
				t.Errorf("%s: port %s shows the old certificate", situation, port)
			}
			before[port] = served(t, addr)
		}
		for _, f := range c.files {
			must(t, os.WriteFile(f.Key, []byte("half a key"), 0o600))
		}
		n.Reload()
		for port, addr := range ports {
			if served(t, addr).Cmp(before[port]) != 0 {
				t.Errorf("%s: port %s does not show the old certificate any more", situation, port)
			}
		}
		want := fmt.Sprintf("folkmoot_tls_reload_failures_total %d", len(c.files))
		if got := metric(t, n, "folkmoot_tls_reload_failures_total"); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", situation, got, want)
		}
	}
}

// trusting is a client's configuration that trusts an authority, and shows a certificate if one is given.
func trusting(ca *authority.CA, show ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	return &tls.Config{RootCAs: roots, Certificates: show}
}

// status asks for /v1/status at an address with a client's configuration.
func status(addr string, cfg *tls.Config) (int, error) {
	tr := &http.Transport{TLSClientConfig: cfg}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get("https://" + addr + "/v1/status")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// With an authority's key in the directory a coordinator makes its own certificate, for its hosts, keeps it over a
// restart, and makes another when the hosts or the key are.
func TestOwnAuthority(t *testing.T) {
	ca := newAuthority(t)
	dir, data := ownCA(t, ca), t.TempDir()
	cfg := node.Config{ID: "n1", DataDir: data, TLSDir: dir, TLSHosts: []string{"n1.lab", "192.0.2.7"}}
	shown := func(cfg node.Config, ca *authority.CA) *x509.Certificate {
		t.Helper()
		n, stop := start(t, cfg)
		defer stop()
		if code, err := status(n.Addrs().HTTP, trusting(ca)); code != 200 || err != nil {
			t.Errorf("asked by its address, its authority trusted: %d, %v", code, err)
		}
		c, err := tls.Dial("tcp", n.Addrs().Component, &tls.Config{InsecureSkipVerify: true})
		must(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0]
	}
	first := shown(cfg, ca)
	for _, host := range []string{"localhost", "127.0.0.1", "n1.lab", "192.0.2.7"} {
		if err := first.VerifyHostname(host); err != nil {
			t.Errorf("the own certificate: %v", err)
		}
	}
	if info, err := os.Stat(filepath.Join(data, "tls", "own.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the own key: %v, %v", info, err)
	}
	if life := time.Until(first.NotAfter); life > 24*time.Hour {
		t.Errorf("it lasts %s, longer than its authority", life)
	}
	if again := shown(cfg, ca); !again.Equal(first) {
		t.Error("after a restart it is another")
	}
	cfg.TLSHosts = append(cfg.TLSHosts, "n1.example")
	if again := shown(cfg, ca); again.Equal(first) || again.VerifyHostname("n1.example") != nil {
		t.Error("with another host it is the same")
	}

	n, stop := start(t, cfg)
	defer stop()
	other := newAuthority(t)
	oldCert, _, err := ca.PEM()
	must(t, err)
	newCert, newKey, err := other.PEM()
	must(t, err)
	must(t, durable.WriteText(filepath.Join(dir, certfile.CAFile), append(oldCert, newCert...)))
	must(t, durable.WriteText(filepath.Join(dir, certfile.CAKeyFile), newKey))
	n.Reload()
	eventually(t, "the certificate is of the new authority", func() bool {
		code, err := status(n.Addrs().HTTP, trusting(other))
		return code == 200 && err == nil
	})
}

// Who has no authority gets a new certificate from a member that has, for its own id.
func TestRenewalByAnotherMember(t *testing.T) {
	ca := newAuthority(t)
	peers := freeAddrs(t, 2)
	due := tlsDir(t, ca, "n2", time.Minute) // it is valid since some minutes ago, so two thirds are over
	var nodes []*node.Node
	data := t.TempDir()
	for i, dir := range []string{ownCA(t, ca), dirOf(due)} {
		id := fmt.Sprint("n", i+1)
		nodes = append(nodes, run(t, node.Config{ID: id, DataDir: filepath.Join(data, id), PeerAddr: peers[i], Join: peers, Expect: 2, TLSDir: dir}))
	}
	ready(t, nodes...)
	nodes[1].Reload() // it looks again at once
	eventually(t, "n2 has a certificate of 90 days, or as long as its authority", func() bool {
		return ca.Certificate().NotAfter.Equal(servedLeaf(t, nodes[1].Addrs().HTTP).NotAfter)
	})
	leaf := servedLeaf(t, nodes[1].Addrs().Peer)
	if name, err := authority.NameOf(leaf); err != nil || name.String() != "spiffe://lab/member/n2" {
		t.Errorf("it is that of %v, %v", name, err)
	}
	eventually(t, "each member tells of its certificate and whom it trusts", func() bool {
		mark := authority.Fingerprint(ca.Certificate())
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: trusting(ca), DisableKeepAlives: true}}).Get("https://" + nodes[0].Addrs().HTTP + "/v1/members")
		must(t, err)
		defer resp.Body.Close()
		var got wire.Members
		must(t, json.NewDecoder(resp.Body).Decode(&got))
		for _, m := range got.Members {
			if c := m.Certificate; c == nil || c.Issuer != mark || len(c.Trusts) != 1 || c.Trusts[0] != mark || !c.Expires.Equal(ca.Certificate().NotAfter) {
				return false
			}
		}
		return len(got.Members) == 2
	})
	if got := metric(t, nodes[1], `folkmoot_certificate_expiry_timestamp_seconds{port="peer"}`); len(got) != 1 || !strings.Contains(got[0], "e+09") {
		t.Errorf("metric of its end: %q", got)
	}
}

func servedLeaf(t *testing.T, addr string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

// --http-client-ca is a second lock on REST and native sessions, whose key is no name; the own worker passes.
func TestClientAuthority(t *testing.T) {
	ca, clients := newAuthority(t), newAuthority(t)
	clientFiles := certfile.In(t.TempDir())
	must(t, clientFiles.Issue(clients, authority.Leaf{Role: authority.RoleClient, ID: "ops", Life: time.Hour}, nil))
	n := run(t, node.Config{ID: "n1", DataDir: t.TempDir(), TLSDir: ownCA(t, ca), HTTPClientCA: clientFiles.CA, Worker: true, Slots: 1})
	good, err := tls.LoadX509KeyPair(clientFiles.Cert, clientFiles.Key)
	must(t, err)
	stranger := tlsDir(t, ca, "n2", time.Hour)
	bad, err := tls.LoadX509KeyPair(stranger.Cert, stranger.Key)
	must(t, err)
	for situation, cfg := range map[string]*tls.Config{"no certificate": trusting(ca), "one of another authority": trusting(ca, bad)} {
		if code, err := status(n.Addrs().HTTP, cfg); err == nil {
			t.Errorf("%s: got %d, want no answer", situation, code)
		}
	}
	if code, err := status(n.Addrs().HTTP, trusting(ca, good)); code != 200 || err != nil {
		t.Errorf("with the right certificate: got %d, %v", code, err)
	}
	eventually(t, "the own worker is signed in", func() bool {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(ca, good)}, Timeout: time.Minute}
		defer c.CloseIdleConnections()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+n.Addrs().HTTP+"/v1/workers", nil)
		must(t, err)
		resp, err := c.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(text), "worker")
	})
}
