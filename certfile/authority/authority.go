// Package authority is a cluster's own certificate authority: it signs certificates for coordinators and others.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// backdate is how long before its making a certificate is valid: clocks differ.
const backdate = 5 * time.Minute

// CA is an authority with its key.
type CA struct {
	cluster string
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// New makes an authority for the cluster of that name, valid for life.
func New(cluster string, life time.Duration) (*CA, error) {
	if err := (Name{cluster, RoleMember, "x"}).valid(); err != nil {
		return nil, fmt.Errorf("certificate authority: %q cannot stand in a certificate's name", cluster)
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "folkmoot " + cluster},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(life),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it signs leaves alone
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{cluster: cluster, cert: cert, key: key}, nil
}

// Load is the authority whose key and certificate are in PEM. Of several certificates it is the one of the key.
func Load(certPEM, keyPEM []byte) (*CA, error) {
	const not = "certificate authority: "
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New(not + "no PEM block with a key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf(not+"%w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New(not + "its key is not ECDSA")
	}
	all, err := Certificates(certPEM)
	if err != nil {
		return nil, fmt.Errorf(not+"%w", err)
	}
	for _, c := range all {
		if !ec.PublicKey.Equal(c.PublicKey) {
			continue
		}
		if !c.IsCA || len(c.URIs) != 1 || c.URIs[0].Scheme != "spiffe" || c.URIs[0].Host == "" {
			return nil, errors.New(not + "the certificate of the key is not that of a cluster's authority (raftctl ca init makes one)")
		}
		return &CA{cluster: c.URIs[0].Host, cert: c, key: ec}, nil
	}
	return nil, errors.New(not + "none of the certificates belongs to the key")
}

// Certificates are those in PEM, in their order; none is an error.
func Certificates(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return all, nil
}

// Cluster is the cluster that all certificates of the authority belong to.
func (ca *CA) Cluster() string { return ca.cluster }

// Certificate is the authority's own one, which is public. It is not to be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// PEM is the authority's certificate, which is public, and its key, which is secret.
func (ca *CA) PEM() (cert, key []byte, err error) {
	if key, err = EncodeKey(ca.key); err != nil {
		return nil, nil, err
	}
	return EncodeCertificate(ca.cert.Raw), key, nil
}

// Leaf is what a certificate is to say.
type Leaf struct {
	Role, ID string
	Hosts    Hosts
	Life     time.Duration // cut to that of the authority
}

// Hosts are the names and addresses under which somebody is called.
type Hosts struct {
	DNS []string
	IPs []net.IP
}

// Issue makes a key and a certificate for it.
func (ca *CA) Issue(l Leaf) (cert, key []byte, err error) {
	k, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	if cert, err = ca.Sign(k.Public(), l); err != nil {
		return nil, nil, err
	}
	if key, err = EncodeKey(k); err != nil {
		return nil, nil, err
	}
	return cert, key, nil
}

// Sign makes a certificate for somebody else's key.
func (ca *CA) Sign(key crypto.PublicKey, l Leaf) (cert []byte, err error) {
	name := Name{ca.cluster, l.Role, l.ID}
	if err := name.valid(); err != nil {
		return nil, err
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if l.Role != RoleClient {
		usage = append(usage, x509.ExtKeyUsageServerAuth)
	}
	now := time.Now()
	end := now.Add(l.Life)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: l.ID},
		URIs:         []*url.URL{name.URI()},
		DNSNames:     l.Hosts.DNS,
		IPAddresses:  l.Hosts.IPs,
		NotBefore:    now.Add(-backdate),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  usage,
	}
	if l.Life < 0 { // for tests: it has ended
		template.NotBefore = end.Add(-backdate)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		return nil, err
	}
	return EncodeCertificate(der), nil
}

// NewKey makes a key for a certificate.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// EncodeKey is a key in PEM.
func EncodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// EncodeCertificate is a certificate in PEM.
func EncodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Fingerprint is the SHA-256 of a certificate in hex: how an authority is called.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // not reached: the system's randomness never fails
	}
	return n
}
