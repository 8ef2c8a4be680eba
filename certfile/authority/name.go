package authority

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// The roles that stand in certificates.
const (
	RoleMember = "member" // a coordinator
	RoleClient = "client" // anybody else
)

var memberID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// MemberIDRule says in words what IsMemberID takes.
const MemberIDRule = "letters, digits, - and _, at most 63, starting with a letter or digit"

// IsMemberID reports whether a coordinator can have this id.
func IsMemberID(id string) bool { return memberID.MatchString(id) }

// Name is whom a certificate belongs to. It stands there as its only URI, spiffe://CLUSTER/ROLE/ID.
type Name struct{ Cluster, Role, ID string }

// URI is the name as it stands in a certificate.
func (n Name) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: n.Cluster, Path: "/" + n.Role + "/" + n.ID}
}

func (n Name) String() string { return n.URI().String() }

// parse is the inverse of URI.
func parse(u *url.URL) (Name, bool) {
	role, id, found := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	n := Name{Cluster: u.Host, Role: role, ID: id}
	ok := found && u.Scheme == "spiffe" && u.Host != "" && role != "" && id != "" && !strings.Contains(id, "/") && u.String() == n.String()
	return n, ok
}

// NameOf reads the one name of a certificate. A second URI would let a certificate pass as somebody else
// (CVE-2022-40716). The error is a *NameError.
func NameOf(c *x509.Certificate) (Name, error) {
	if len(c.URIs) != 1 {
		return Name{}, &NameError{URIs: len(c.URIs), text: fmt.Sprintf("certificate with %d URIs, one is needed", len(c.URIs))}
	}
	n, ok := parse(c.URIs[0])
	if !ok {
		return Name{}, &NameError{URIs: 1, text: fmt.Sprintf("certificate of %q, not of spiffe://<cluster>/<role>/<id>", c.URIs[0])}
	}
	return n, nil
}

// NameError is a certificate without a name of its own.
type NameError struct {
	URIs int // in the certificate; with one, that is no name
	text string
}

func (e *NameError) Error() string { return e.text }

// valid refuses what a name in a certificate cannot be.
func (n Name) valid() error {
	u, err := url.Parse(n.String())
	if err == nil && u.EscapedPath() == u.Path && n.ID != "." && n.ID != ".." {
		if again, ok := parse(u); ok && again == n {
			return nil
		}
	}
	return fmt.Errorf("certificate authority: %q, %q and %q cannot stand in a certificate's name", n.Cluster, n.Role, n.ID)
}
