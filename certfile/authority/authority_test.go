package authority_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile/authority"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An authority that was written to files issues for the same cluster again, also when others stand before it.
func TestLoad(t *testing.T) {
	ca, err := authority.New("c1", time.Hour)
	must(t, err)
	other, err := authority.New("c1", time.Hour)
	must(t, err)
	cert, key, err := ca.PEM()
	must(t, err)
	otherCert, otherKey, err := other.PEM()
	must(t, err)
	for situation, text := range map[string][]byte{"alone": cert, "after another": append(bytes.Clone(otherCert), cert...)} {
		again, err := authority.Load(text, key)
		if err != nil || again.Cluster() != "c1" || !again.Certificate().Equal(ca.Certificate()) {
			t.Errorf("load %s: got %v, %v", situation, again, err)
		}
	}
	leaf, leafKey, err := ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour})
	must(t, err)
	for situation, pair := range map[string][2][]byte{"nothing": {nil, nil}, "another's key": {cert, otherKey}, "swapped": {key, cert}, "a leaf": {leaf, leafKey}} {
		if _, err := authority.Load(pair[0], pair[1]); err == nil {
			t.Errorf("load of %s: got no error", situation)
		}
	}
	for _, name := range []string{"", "a/b", "a b", "a@b", "a?b", "a#b"} {
		if _, err := authority.New(name, time.Hour); err == nil {
			t.Errorf("authority of cluster %q: got no error", name)
		}
	}
	for _, id := range []string{"", "n1/x", "n 1", "n1?x", "n1#", "../n1"} {
		if _, _, err := ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: id, Life: time.Hour}); err == nil {
			t.Errorf("certificate for %q: got no error", id)
		}
	}
}

// Of a request only the key and the hosts are taken: whatever name it asks for, the certificate has the one that the
// authority was told.
func TestRequestsNameNobody(t *testing.T) {
	ca, err := authority.New("lab", time.Hour)
	must(t, err)
	key, err := authority.NewKey()
	must(t, err)
	greedy, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "n1"}, DNSNames: []string{"host4"}, EmailAddresses: []string{"n1@lab"},
		URIs: []*url.URL{authority.Name{Cluster: "lab", Role: authority.RoleMember, ID: "n1"}.URI()},
	}, key)
	must(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: greedy})
	public, hosts, err := authority.ParseRequest(text)
	must(t, err)
	signed, err := ca.Sign(public, authority.Leaf{Role: authority.RoleMember, ID: "n4", Hosts: hosts, Life: 24 * time.Hour})
	must(t, err)
	all, err := authority.Certificates(signed)
	must(t, err)
	leaf := all[0]
	if name, err := authority.NameOf(leaf); err != nil || name.ID != "n4" || leaf.Subject.CommonName != "n4" || len(leaf.EmailAddresses) > 0 || leaf.IsCA {
		t.Errorf("got the certificate of %v (%v), subject %v, mail %v, authority %t", name, err, leaf.Subject, leaf.EmailAddresses, leaf.IsCA)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "host4" {
		t.Errorf("got another key, or hosts %v", leaf.DNSNames)
	}
	if leaf.NotAfter.After(ca.Certificate().NotAfter) {
		t.Error("it outlives its authority")
	}

	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	weak, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"host4"}}, rsaKey)
	must(t, err)
	forged := bytes.Clone(greedy)
	forged[len(forged)-1] ^= 1 // of the signature
	for situation, text := range map[string][]byte{
		"nothing":                nil,
		"no PEM":                 greedy,
		"a certificate":          signed,
		"two requests":           append(bytes.Clone(text), text...),
		"a broken signature":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: forged}),
		"a long one":             append(bytes.Repeat([]byte("x\n"), authority.MaxRequest), text...),
		"a name of no host":      request(t, key, authority.Hosts{DNS: []string{"a b"}}),
		"a path as a host":       request(t, key, authority.Hosts{DNS: []string{"a/../b"}}),
		"more hosts than 64":     request(t, key, authority.Hosts{DNS: strings.Fields(strings.Repeat("host ", 65))}),
		"more addresses than 64": request(t, key, authority.Hosts{IPs: slices.Repeat([]net.IP{{192, 0, 2, 7}}, 65)}),
		"a weak key":             pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: weak}),
		"an empty host":          request(t, key, authority.Hosts{DNS: []string{""}}),
		"an unfinished block":    text[:len(text)/2],
	} {
		if _, _, err := authority.ParseRequest(text); err == nil {
			t.Errorf("request of %s: got no error", situation)
		}
	}
}

func request(t testing.TB, key *ecdsa.PrivateKey, hosts authority.Hosts) []byte {
	t.Helper()
	text, err := authority.NewRequest(key, hosts)
	must(t, err)
	return text
}

// Whatever is in a request, it is refused, or its owner, its key and its hosts are sound.
func FuzzParseRequest(f *testing.F) {
	key, err := authority.NewKey()
	must(f, err)
	f.Add(request(f, key, authority.Hosts{DNS: []string{"host1", "*.lab"}}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		public, hosts, err := authority.ParseRequest(text)
		if err == nil && (public == nil || len(hosts.DNS) > 64) {
			t.Errorf("taken: %v, %v", public, hosts)
		}
	})
}

// Whatever is in a file of certificates, reading it ends with some or an error, and a name that is read is one.
func FuzzCertificates(f *testing.F) {
	ca, err := authority.New("lab", time.Hour)
	must(f, err)
	cert, key, err := ca.PEM()
	must(f, err)
	leaf, _, err := ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour})
	must(f, err)
	f.Add(append(bytes.Clone(leaf), cert...), key)
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		_, _ = authority.Load(cert, key)
		all, err := authority.Certificates(cert)
		if err == nil && len(all) == 0 {
			t.Error("no certificate and no error")
		}
		for _, c := range all {
			if name, err := authority.NameOf(c); err == nil && (name.Cluster == "" || name.Role == "" || name.ID == "" || strings.Contains(name.ID, "/")) {
				t.Errorf("name %+v", name)
			}
		}
	})
}
