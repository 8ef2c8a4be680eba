package certfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// nextKeyFile is the key of the authority that a rotation brings, until it signs.
const nextKeyFile = "ca-key-next.pem"

// How long what is made is valid, unless somebody says otherwise.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 90 * 24 * time.Hour // a member's certificate
)

// Authority is one in a directory: ca.pem, and ca-key.pem. Its methods change the files; each change is one rename.
type Authority struct{ Dir string }

func (a Authority) file(name string) string { return filepath.Join(a.Dir, name) }

// Init makes an authority for a cluster. It overwrites nothing.
func (a Authority) Init(cluster string) (*authority.CA, error) {
	ca, err := authority.New(cluster, AuthorityLife)
	if err != nil {
		return nil, err
	}
	cert, key, err := ca.PEM()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{CAFile, CAKeyFile} {
		if _, err := os.Lstat(a.file(name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already, and an authority is never overwritten: name another directory", a.file(name))
		}
	}
	if err := durable.WriteText(a.file(CAKeyFile), key); err != nil {
		return nil, err
	}
	return ca, durable.WriteText(a.file(CAFile), cert)
}

// Load reads the authority that signs, and all that are trusted, in PEM.
func (a Authority) Load() (ca *authority.CA, trust []byte, err error) {
	return a.load(CAKeyFile)
}

func (a Authority) load(keyFile string) (ca *authority.CA, trust []byte, err error) {
	key, err := readFile(a.file(keyFile))
	if err != nil {
		return nil, nil, err
	}
	if err := CheckKeyFile(a.file(keyFile)); err != nil {
		return nil, nil, err
	}
	if trust, err = readFile(a.file(CAFile)); err != nil {
		return nil, nil, err
	}
	if ca, err = authority.Load(trust, key); err != nil {
		return nil, nil, fmt.Errorf("%s and %s: %w", a.file(CAFile), a.file(keyFile), err)
	}
	return ca, trust, nil
}

// Begin makes the next authority: ca.pem trusts the old and the new, the old one goes on signing.
func (a Authority) Begin() (next *authority.CA, err error) {
	old, trust, err := a.Load()
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(a.file(nextKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there: a rotation has begun; the next step is switch", a.file(nextKeyFile))
	}
	if all, err := authority.Certificates(trust); err != nil || len(all) > 1 {
		return nil, fmt.Errorf("%s has %d authorities: end the rotation before (finish) first", a.file(CAFile), len(all))
	}
	if next, err = authority.New(old.Cluster(), AuthorityLife); err != nil {
		return nil, err
	}
	cert, key, err := next.PEM()
	if err != nil {
		return nil, err
	}
	if err := durable.WriteText(a.file(nextKeyFile), key); err != nil {
		return nil, err
	}
	if n := len(trust); n > 0 && trust[n-1] != '\n' {
		trust = append(trust, '\n')
	}
	return next, durable.WriteText(a.file(CAFile), append(trust, cert...))
}

// Next is the authority that Begin has made and Switch has not yet taken.
func (a Authority) Next() (*authority.CA, error) {
	ca, _, err := a.load(nextKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no rotation has begun there: begin is the first step", a.Dir)
	}
	return ca, err
}

// Switch has the next authority sign from now on.
func (a Authority) Switch() error {
	if _, err := a.Next(); err != nil {
		return err
	}
	if err := os.Rename(a.file(nextKeyFile), a.file(CAKeyFile)); err != nil {
		return err
	}
	return durable.SyncDir(a.Dir)
}

// Finish leaves the authority that signs as the only one that is trusted.
func (a Authority) Finish() error {
	if _, err := os.Lstat(a.file(nextKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there: the next step is switch", a.file(nextKeyFile))
	}
	ca, _, err := a.Load()
	if err != nil {
		return err
	}
	return durable.WriteText(a.file(CAFile), authority.EncodeCertificate(ca.Certificate().Raw))
}
