package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/wire"
)

// serveAs starts a server by TLS with a certificate of an authority, and behind it the certificates of authorities.
func serveAs(t *testing.T, by *authority.CA, leaf authority.Leaf, chain []*authority.CA, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	cert, key, err := by.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, ca := range chain {
		pair.Certificate = append(pair.Certificate, ca.Certificate().Raw)
	}
	srv := httptest.NewUnstartedServer(answer)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the client ends
	srv.StartTLS()
	return srv
}

// A join token is shown only to a server that proves the authority it names, and what comes back must be what was
// asked for.
func TestCARequest(t *testing.T) {
	ca, err := authority.New("lab", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := authority.New("lab", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(ca.Certificate().Raw)
	tokenFile := filepath.Join(t.TempDir(), "join")
	token := wire.FormatJoinToken(pin, "secret-of-a-join-token")
	if err := os.WriteFile(tokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n1 := authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour}
	for situation, c := range map[string]struct {
		by     *authority.CA // of the server's certificate
		leaf   authority.Leaf
		chain  []*authority.CA // that are shown behind it
		signed string          // the id that is signed
		shown  bool            // the token, to the server
		want   string          // "" done
	}{
		"done":                     {ca, n1, []*authority.CA{ca}, "n4", true, ""},
		"another authority":        {other, n1, []*authority.CA{other}, "n4", false, "does not prove the authority"},
		"no chain":                 {ca, n1, nil, "n4", false, "does not prove the authority"},
		"a client that serves":     {ca, authority.Leaf{Role: authority.RoleClient, ID: "n1", Life: time.Hour}, []*authority.CA{ca}, "n4", false, "incompatible key usage"},
		"a component that serves":  {ca, authority.Leaf{Role: "component", ID: "n1", Life: time.Hour}, []*authority.CA{ca}, "n4", false, "no member"},
		"a token for somebody":     {ca, n1, []*authority.CA{ca}, "n5", true, "for another id"},
		"the authority in between": {other, n1, []*authority.CA{other, ca}, "n4", false, "unknown authority"},
	} {
		shown := false
		srv := serveAs(t, c.by, c.leaf, c.chain, func(w http.ResponseWriter, r *http.Request) {
			shown = shown || r.Header.Get("Authorization") != ""
			var in wire.SignCertificate
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.URL.Path != "/v1/ca/sign" || r.Header.Get("Authorization") != "Bearer "+token {
				http.Error(w, "bad", 400)
				return
			}
			key, hosts, err := authority.ParseRequest([]byte(in.CSR))
			if err != nil {
				http.Error(w, err.Error(), 400)
				return
			}
			cert, err := ca.Sign(key, authority.Leaf{Role: authority.RoleMember, ID: c.signed, Hosts: hosts, Life: time.Hour})
			if err != nil {
				http.Error(w, err.Error(), 400)
				return
			}
			_ = json.NewEncoder(w).Encode(wire.SignedCertificate{Certificate: string(cert), CA: string(authority.EncodeCertificate(ca.Certificate().Raw))})
		})
		out := filepath.Join(t.TempDir(), "out")
		r := runCtl(t, nil, "ca", "request", "--join-token-file", tokenFile, "--addr", srv.Listener.Addr().String(), "--id", "n4", "--out", out, "--hosts", "host4")
		srv.Close() // which waits for its handlers
		if shown != c.shown {
			t.Errorf("%s: the token was shown: %t, want %t", situation, shown, c.shown)
		}
		_, statErr := os.Stat(filepath.Join(out, "key.pem"))
		if c.want == "" {
			f := certfile.In(out)
			for _, name := range []string{f.CA, f.Cert, f.Key} {
				if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
				}
			}
			if content, err := (certfile.Source{CA: f.CA, Pairs: []certfile.Pair{f.Pair}}).Load(); r.code != 0 || err != nil || content.Leaf.VerifyHostname("host4") != nil {
				t.Errorf("%s: %+v, %v", situation, r, err)
			}
			continue
		}
		if r.code == 0 || !strings.Contains(r.err, c.want) || statErr == nil {
			t.Errorf("%s: %+v, want %q and no files", situation, r, c.want)
		}
	}
	for _, bad := range []string{"fmt_x", "fmj_", "fmj_abc_def", token[:20], "fmj_" + strings.Repeat("!", 43) + "_x"} {
		if err := os.WriteFile(tokenFile, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := runCtl(t, nil, "ca", "request", "--join-token-file", tokenFile, "--id", "n4", "--out", t.TempDir()); r.code != exitUsage || !strings.Contains(r.err, "join token") {
			t.Errorf("join token %q: %+v", bad, r)
		}
	}
}

// Where the files go is looked at before the token is shown to anybody; what the cluster refuses leaves nothing behind.
func TestCARequestOverwritesNothing(t *testing.T) {
	ca, err := authority.New("lab", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	token := wire.FormatJoinToken(sha256.Sum256(ca.Certificate().Raw), "secret")
	tokenFile := filepath.Join(t.TempDir(), "join")
	if err := os.WriteFile(tokenFile, []byte("# for n4\n"+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := 0
	srv := serveAs(t, ca, authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour}, []*authority.CA{ca}, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("sent %q", r.Header.Get("Authorization"))
		}
		problem(http.StatusUnauthorized, wire.CodeUnauthorized, "the join token for n4 was used")(w, r)
	})
	defer srv.Close()
	request := func(out string, more ...string) result {
		return runCtl(t, nil, append([]string{"ca", "request", "--join-token-file", tokenFile, "--addr", srv.Listener.Addr().String(), "--id", "n4", "--out", out}, more...)...)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "key.pem"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for situation, c := range map[string]struct {
		args []string
		want string
	}{
		"a directory with a key in it": {[]string{full}, "not empty"},
		"a file":                       {[]string{filepath.Join(full, "key.pem")}, "no directory"},
		"an id that is none":           {[]string{t.TempDir(), "--id", "n4/x"}, "--id"},
		"a host that is none":          {[]string{t.TempDir(), "--hosts", "a b"}, "--hosts"},
		"no https":                     {[]string{t.TempDir(), "--addr", "http://127.0.0.1:1"}, "https alone"},
		"no https, in capitals":        {[]string{t.TempDir(), "--addr", "127.0.0.1:1,HTTP://127.0.0.1:1"}, "https alone"},
	} {
		if r := request(c.args[0], c.args[1:]...); r.code != exitUsage || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %+v, want exit code 2 and %q", situation, r, c.want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(full, "key.pem")); err != nil || string(text) != "mine" || asked > 0 {
		t.Errorf("after %d requests the key is %q, %v", asked, text, err)
	}
	parent := t.TempDir()
	if r := request(filepath.Join(parent, "out")); r.code != exitFailed || !strings.Contains(r.err, "was used") || asked != 1 {
		t.Errorf("refused after %d requests: %+v", asked, r)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
