package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"regexp"
)

// Bounds of what a request may ask for.
const (
	maxHosts   = 64
	MaxRequest = 16 << 10 // bytes of PEM
)

// hostName is a name of a host, or a wildcard for one label.
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$`)

// NewRequest is a request for a certificate of a key, in PEM. It says under which hosts its owner is called, no more:
// whose it is says who signs it.
func NewRequest(key *ecdsa.PrivateKey, hosts Hosts) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: hosts.DNS, IPAddresses: hosts.IPs}, key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseRequest takes the key and the hosts of a request, which its signature proves to be of the key's owner, and
// nothing else: a name that it asks for is not read.
func ParseRequest(text []byte) (crypto.PublicKey, Hosts, error) {
	fail := func(format string, args ...any) (crypto.PublicKey, Hosts, error) {
		return nil, Hosts{}, fmt.Errorf("certificate request: "+format, args...)
	}
	if len(text) > MaxRequest {
		return fail("%d bytes are more than %d", len(text), MaxRequest)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return fail("no PEM block CERTIFICATE REQUEST")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return fail("more than one PEM block")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fail("%w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return fail("%w", err)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
		return fail("the key must be ECDSA on P-256 or P-384")
	}
	hosts := Hosts{DNS: r.DNSNames, IPs: r.IPAddresses}
	if err := hosts.check(); err != nil {
		return fail("%w", err)
	}
	return key, hosts, nil
}

func (h Hosts) check() error {
	if n := len(h.DNS) + len(h.IPs); n > maxHosts {
		return fmt.Errorf("%d hosts are more than %d", n, maxHosts)
	}
	for _, name := range h.DNS {
		if !hostName.MatchString(name) {
			return fmt.Errorf("%q is no name of a host", name)
		}
	}
	return nil
}

// MemberHosts is ParseHosts for a coordinator, which is called as localhost, too.
func MemberHosts(more []string) (Hosts, error) {
	return ParseHosts(append([]string{"localhost", "127.0.0.1", "::1"}, more...))
}

// ParseHosts sorts names and addresses; doubles are left out.
func ParseHosts(list []string) (h Hosts, err error) {
	seen := map[string]bool{}
	for _, s := range list {
		if s == "" {
			return h, errors.New("an empty name of a host")
		}
		if seen[s] {
			continue
		}
		seen[s] = true
		if ip := net.ParseIP(s); ip != nil {
			h.IPs = append(h.IPs, ip)
		} else {
			h.DNS = append(h.DNS, s)
		}
	}
	return h, h.check()
}
