package node

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
)

// A new certificate that could not be used, since its authority is not trusted here
// yet, does not take the place of the one that is.
func TestOnlyAUsableCertificateIsKept(t *testing.T) {
	issue := func(ca *authority.CA) (cert, key []byte) {
		cert, key, err := ca.Issue(authority.Leaf{Role: authority.RoleMember, ID: "n1", Life: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	dir := t.TempDir()
	ca, err := certfile.Authority{Dir: dir}.Init("lab")
	if err != nil {
		t.Fatal(err)
	}
	other, err := authority.New("lab", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	own := &ownCertificate{id: "n1", dir: certfile.In(dir), data: ownPair(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	if err := own.keep(issue(ca)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(own.data.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.keep(issue(other)); err == nil {
		t.Error("a certificate of an authority that is not trusted was kept")
	}
	if after, err := os.ReadFile(own.data.Cert); err != nil || string(after) != string(before) {
		t.Errorf("the certificate in use was replaced, or is gone: %v", err)
	}
	if _, err := own.source().Load(); err != nil {
		t.Errorf("what is kept cannot be used: %v", err)
	}
}
