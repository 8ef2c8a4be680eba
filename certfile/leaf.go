package certfile

import (
	"path/filepath"
	"slices"

	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// Files names the files of one directory: the authorities, and a certificate with its key.
type Files struct {
	CA string
	Pair
}

// The names of the files in a directory.
const (
	CAFile    = "ca.pem"
	CAKeyFile = "ca-key.pem"
	CertFile  = "cert.pem"
	KeyFile   = "key.pem"
)

// In names the files of a directory.
func In(dir string) Files {
	return Files{CA: filepath.Join(dir, CAFile), Pair: Pair{filepath.Join(dir, CertFile), filepath.Join(dir, KeyFile)}}
}

// Write replaces the certificate and its key; at once, if one file holds both.
func (p Pair) Write(cert, key []byte) error {
	if p.Cert == p.Key {
		return durable.WriteText(p.Cert, slices.Concat(cert, key))
	}
	if err := durable.WriteText(p.Key, key); err != nil {
		return err
	}
	return durable.WriteText(p.Cert, cert)
}

// Issue makes a certificate and writes the files: it, its key, and the authorities that its owner is to trust; nil
// are the one that signs.
func (f Files) Issue(ca *authority.CA, l authority.Leaf, trust []byte) error {
	cert, key, err := ca.Issue(l)
	if err != nil {
		return err
	}
	if trust == nil {
		trust = authority.EncodeCertificate(ca.Certificate().Raw)
	}
	if err := durable.WriteText(f.CA, trust); err != nil {
		return err
	}
	return f.Pair.Write(cert, key)
}
