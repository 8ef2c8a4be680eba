package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/durable"
)

func (a *app) caRequestCmd() *cobra.Command {
	var l leafFlags
	var tokenFile string
	cmd := &cobra.Command{
		Use: "request", Short: "Get a certificate from a running cluster with a join token", Args: cobra.NoArgs,
		Long: "The key is made here and never travels. The server must prove the authority that the token names before the token is shown to\n" +
			"it; no other token and no --ca is needed. An operator makes the token: raftctl tokens join --id n4. It opens one certificate,\n" +
			"for this id. The files appear together, and nothing is overwritten.",
		Example:           "  raftctl ca request --join-token-file join --addr host1:7380 --id n4 --out tls --hosts host4",
		PersistentPreRunE: a.requestStart,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.newJoinRequest(&l, tokenFile)
			if err != nil {
				return err
			}
			ctx, cancel := a.limited(cmd)
			defer cancel()
			if err := r.run(ctx, a.client); err != nil {
				return err
			}
			return a.issued(l.out)
		},
	}
	cmd.Flags().StringVar(&tokenFile, "join-token-file", "", "file that holds the join token")
	l.define(cmd, "directory for ca.pem, cert.pem and key.pem; it must be new or empty")
	_ = cmd.MarkFlagRequired("join-token-file")
	return cmd
}

// requestStart loads the settings; no token and no authority is needed.
func (a *app) requestStart(cmd *cobra.Command, args []string) error {
	if err := a.flags.load(); err != nil {
		return err
	}
	if a.flags.timeout <= 0 {
		return usage("--timeout %s: want a time above zero", a.flags.timeout)
	}
	return a.offline(cmd, args)
}

// newJoinRequest checks the flags, and makes the client of the request.
func (a *app) newJoinRequest(l *leafFlags, tokenFile string) (*joinRequest, error) {
	hosts, err := l.names()
	if err != nil {
		return nil, err
	}
	token, err := client.ReadTokenFile(tokenFile)
	if err != nil {
		return nil, usage("--join-token-file: %v", err)
	}
	pin, err := wire.ParseJoinToken(token)
	if err != nil {
		return nil, usage("--join-token-file %s: %v", tokenFile, err)
	}
	shown, err := client.LoadTLS("", a.flags.client.Cert, a.flags.client.Key) // where there is --http-client-ca
	if err != nil {
		return nil, usage("--cert/--key: %v", err)
	}
	r := &joinRequest{pin: pin, id: l.id, hosts: hosts, out: l.out}
	config := client.Config{
		Addrs: client.SplitAddrs(a.flags.client.Addr), Token: token, TLS: r.pinned(), Timeout: a.flags.timeout, Attempt: a.flags.timeout,
		Silent: 3, UserAgent: "raftctl",
	}
	if shown != nil {
		config.TLS.Certificates = shown.Certificates
	}
	if a.client, err = client.New(config); err != nil {
		return nil, usage("--addr: %v", err)
	}
	for _, addr := range a.client.Addrs() {
		if u, err := url.Parse(addr); err != nil || u.Scheme != "https" {
			return nil, usage("--addr %s: the join token is shown over https alone", addr)
		}
	}
	return r, nil
}

// joinRequest is one request for a certificate.
type joinRequest struct {
	pin   [sha256.Size]byte // of the authority
	id    string
	hosts authority.Hosts
	out   string
}

// run gets the certificate and writes the files. Where they go is made sure of before the token is shown to anybody.
func (r *joinRequest) run(ctx context.Context, c *client.Client) (err error) {
	out, err := filepath.Abs(r.out)
	if err != nil {
		return err
	}
	if err := newOrEmpty(out); err != nil {
		return usage("--out %s: %v", r.out, err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(out), ".ca-request-*")
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, os.RemoveAll(made))
		}
	}()
	files := certfile.In(made)
	key, err := authority.NewKey()
	if err != nil {
		return err
	}
	keyText, err := authority.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := durable.WriteText(files.Key, keyText); err != nil {
		return err
	}
	signed, err := r.ask(ctx, c, key)
	if err != nil {
		return err
	}
	if err := r.check(signed, keyText); err != nil {
		return fmt.Errorf("%s answered with what is no use: %w", c.Addrs()[0], err)
	}
	kept = true // it cannot be had again
	if err := errors.Join(durable.WriteText(files.CA, []byte(signed.CA)), durable.WriteText(files.Cert, []byte(signed.Certificate))); err != nil {
		return fmt.Errorf("the certificate came and cannot be written: %w", err)
	}
	if err := os.Rename(made, out); err != nil {
		return fmt.Errorf("the certificate is in %s: %w", made, err)
	}
	return nil
}

// newOrEmpty refuses a directory that has something in it.
func newOrEmpty(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("it is there and is no directory")
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = errors.New("the directory is not empty, and nothing is overwritten: name another, or move what is there away")
	}
	return err
}

// ask has the request signed.
func (r *joinRequest) ask(ctx context.Context, c *client.Client, key *ecdsa.PrivateKey) (wire.SignedCertificate, error) {
	csr, err := authority.NewRequest(key, r.hosts)
	if err != nil {
		return wire.SignedCertificate{}, err
	}
	signed, _, err := c.SignCertificate(ctx, wire.SignCertificate{CSR: string(csr), ID: r.id})
	return signed, err
}

// pinned trusts a server that shows a member's certificate and the authority of the token that has signed it.
func (r *joinRequest) pinned() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // of the names: the authority is checked here
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates[1:] {
				if sha256.Sum256(c.Raw) != r.pin {
					continue
				}
				roots := x509.NewCertPool()
				roots.AddCert(c)
				if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots}); err != nil {
					return err
				}
				if name, err := authority.NameOf(s.PeerCertificates[0]); err != nil || name.Role != authority.RoleMember {
					return errors.New("the server is no member of the cluster")
				}
				return nil
			}
			return errors.New("the server does not prove the authority that the join token names, and the token was not shown to it " +
				"(is it a coordinator with --tls-dir and without --http-cert, and was the authority changed since?)")
		},
	}
}

// check refuses an answer that is not what was asked for.
func (r *joinRequest) check(signed wire.SignedCertificate, key []byte) error {
	if _, err := tls.X509KeyPair([]byte(signed.Certificate), key); err != nil {
		return err
	}
	chain, err := authority.Certificates([]byte(signed.Certificate))
	if err != nil {
		return err
	}
	if name, err := authority.NameOf(chain[0]); err != nil || name.ID != r.id || name.Role != authority.RoleMember {
		return fmt.Errorf("the join token is for another id: the certificate is that of %q, and --id says %q", chain[0].Subject.CommonName, r.id)
	}
	trusted, err := authority.Certificates([]byte(signed.CA))
	if err != nil {
		return err
	}
	roots, named := x509.NewCertPool(), false
	for _, c := range trusted {
		roots.AddCert(c)
		named = named || sha256.Sum256(c.Raw) == r.pin
	}
	if !named {
		return errors.New("the authority of the join token is not among those that it is to trust")
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: roots})
	return err
}
