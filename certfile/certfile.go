// Package certfile is the PEM files of certificates, keys and authorities on disk: read, checked, and read again when
// they change.
package certfile

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/certfile/authority"
)

// Pair names the files of a certificate, with its chain, and of its key.
type Pair struct{ Cert, Key string }

// Source says which files belong together.
type Source struct {
	CA    string // authorities, one or more; "" none
	Pairs []Pair // where a certificate may be; of those that can be used, the one that ends last is. None: authorities alone
	// Check refuses content that is no use, beyond what files can have wrong in themselves; nil: nothing.
	Check func(*Content) error
}

// Content is what the files hold. It does not change.
type Content struct {
	Certificate tls.Certificate
	Leaf        *x509.Certificate   // of Certificate; nil without pairs
	From        Pair                // where Certificate was
	Authorities []*x509.Certificate // nil without CA
	Roots       *x509.CertPool      // of Authorities
	issuer      *x509.Certificate
}

// Chain is the certificate and what stands between it and an authority.
func (c *Content) Chain() []*x509.Certificate {
	out := []*x509.Certificate{c.Leaf}
	for _, der := range c.Certificate.Certificate[1:] {
		if x, err := x509.ParseCertificate(der); err == nil {
			out = append(out, x)
		}
	}
	return out
}

// Issuer is the authority that signed the certificate, or the last of its chain; nil if it is not among Authorities.
func (c *Content) Issuer() *x509.Certificate { return c.issuer }

// findIssuer checks signatures: it is for when the files are read, not for every handshake.
func (c *Content) findIssuer() *x509.Certificate {
	chain := c.Chain()
	for _, a := range c.Authorities {
		if chain[len(chain)-1].CheckSignatureFrom(a) == nil {
			return a
		}
	}
	return nil
}

// ErrNoPair says that there is no certificate at all, not even a bad one.
var ErrNoPair = errors.New("no certificate")

// ExpiredError is a certificate whose time is over.
type ExpiredError struct {
	File string
	End  time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("%s: the certificate has expired on %s", e.File, e.End.UTC().Format(time.RFC3339))
}

// Load reads the files. The error names the file that is wrong.
func (s Source) Load() (*Content, error) {
	c, _, problem := s.load()
	if c == nil {
		return nil, problem
	}
	return c, nil
}

// load returns the content, a mark of all bytes read, and what is wrong with files beside it that are not used.
func (s Source) load() (best *Content, mark [sha256.Size]byte, problem error) {
	sum := sha256.New()
	defer func() { sum.Sum(mark[:0]) }()
	read := func(name string) ([]byte, error) {
		b, err := readFile(name)
		fmt.Fprintf(sum, "%s %d %t\n", name, len(b), err == nil)
		sum.Write(b)
		return b, err
	}
	var shared Content
	if s.CA != "" {
		text, err := read(s.CA)
		if err == nil {
			shared.Authorities, err = authority.Certificates(text)
		}
		if err != nil {
			return nil, mark, named(s.CA, err)
		}
		shared.Roots = x509.NewCertPool()
		for _, a := range shared.Authorities {
			shared.Roots.AddCert(a)
		}
	}
	if len(s.Pairs) == 0 {
		return &shared, mark, s.check(&shared)
	}
	var problems []error
	for _, p := range s.Pairs {
		c := shared
		err := c.readPair(p, read, sum.Write)
		if errors.Is(err, ErrNoPair) {
			continue
		}
		if err == nil {
			err = s.check(&c)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c
		}
	}
	if best == nil && len(problems) == 0 {
		return nil, mark, fmt.Errorf("%s: %w", s.Pairs[0].Cert, ErrNoPair)
	}
	if best != nil { // one that has ended beside one that has not is an old one
		problems = slices.DeleteFunc(problems, func(err error) bool { return errors.As(err, new(*ExpiredError)) })
	}
	return best, mark, errors.Join(problems...)
}

func (s Source) check(c *Content) error {
	if s.Check == nil {
		return nil
	}
	err := s.Check(c)
	if err != nil && c.From.Cert != "" {
		return named(c.From.Cert, err)
	}
	return err
}

// readPair reads a certificate and its key. ErrNoPair: both files are missing.
func (c *Content) readPair(p Pair, read func(string) ([]byte, error), note func([]byte) (int, error)) error {
	cert, certErr := read(p.Cert)
	key, keyErr := read(p.Key)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", p.Cert, ErrNoPair)
	case certErr != nil:
		return named(p.Cert, certErr)
	case keyErr != nil:
		return named(p.Key, keyErr)
	}
	closed := CheckKeyFile(p.Key)
	_, _ = note([]byte(fmt.Sprint(closed))) // a change of the mode alone is a change
	if closed != nil {
		return closed
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", p.Cert, p.Key, err)
	}
	c.Certificate, c.Leaf, c.From = pair, pair.Leaf, p
	c.issuer = c.findIssuer()
	switch now := time.Now(); {
	case now.After(c.Leaf.NotAfter):
		return &ExpiredError{p.Cert, c.Leaf.NotAfter}
	case now.Before(c.Leaf.NotBefore):
		return fmt.Errorf("%s: the certificate is not valid before %s: is this host's clock right?", p.Cert, c.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// maxFile bounds a file of certificates or a key.
const maxFile = 1 << 20

// readFile reads a file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes, which no certificate file has", name, maxFile)
	}
	return b, err
}

// named puts the file's name before an error that does not have it.
func named(file string, err error) error {
	if strings.Contains(err.Error(), file) {
		return err
	}
	return fmt.Errorf("%s: %w", file, err)
}

// CheckKeyFile refuses a key that others than its owner and its group can read or write.
func CheckKeyFile(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return fmt.Errorf("%s: the key is open to everybody on this host (mode %04o): chmod 0600, or 0440 for a group", name, mode)
	}
	return nil
}
