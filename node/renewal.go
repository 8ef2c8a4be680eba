package node

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// methodSign asks another coordinator to sign a certificate for the one that asks. The body is the request in PEM,
// the answer JSON. Version 1: 2026-11.
const methodSign = "node.sign"

// The pauses of renewal.
const (
	renewalCheck = 10 * time.Second // between looks at the own certificate
	renewalRetry = time.Minute      // after nobody could renew it
	renewalWarn  = time.Hour        // between warnings of that
)

// renewCertificate keeps the own certificate from ending: it makes a new one with the own authority, or asks a member
// that has one.
func (n *Node) renewCertificate(ctx context.Context) error {
	own := n.certs.own
	if own == nil || n.certs.peer != own.watcher && n.certs.http != own.watcher {
		return nil // nothing of --tls-dir is in use
	}
	var warned time.Time
	for {
		wait := renewalCheck
		if err := n.renewOnce(ctx); err != nil && ctx.Err() == nil {
			wait = renewalRetry
			if time.Since(warned) >= renewalWarn {
				warned = time.Now()
				n.log.Warn("this coordinator's certificate is due and could not be renewed: give it another (raftctl ca issue), or ca-key.pem to a member",
					"certificate", own.watcher.Current().From.Cert, "expires", own.watcher.Current().Leaf.NotAfter.UTC(), "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-n.certs.renewNow:
		}
	}
}

// renewOnce renews the own certificate if that is due.
func (n *Node) renewOnce(ctx context.Context) error {
	own := n.certs.own
	current := own.watcher.Current()
	ca, err := own.authority()
	switch {
	case err != nil:
		return err
	case ca != nil && !own.stale(current, ca), ca == nil && time.Now().Before(renewAt(current.Leaf)):
		return nil
	case ca == nil:
		err = n.askForCertificate(ctx)
	case !ca.Certificate().NotAfter.After(current.Leaf.NotAfter) && current.Issuer() != nil && current.Issuer().Equal(ca.Certificate()) && hasHosts(current.Leaf, own.hosts):
		return errors.New("the authority itself ends: begin another (raftctl ca rotate begin)")
	default:
		err = own.issueBy(ca)
	}
	if err != nil {
		return err
	}
	return own.watcher.Reload()
}

// askForCertificate asks one member after the other for a certificate.
func (n *Node) askForCertificate(ctx context.Context) error {
	key, err := authority.NewKey()
	if err != nil {
		return err
	}
	request, err := authority.NewRequest(key, n.certs.own.hosts)
	if err != nil {
		return err
	}
	members, err := n.raft.Members(ctx)
	if err != nil {
		return err
	}
	last := error(wire.NotTried("this coordinator is alone and has no ca-key.pem"))
	for _, m := range members {
		if m.ID == n.cfg.ID {
			continue
		}
		if last = n.askMember(ctx, m.Address, request, func(cert []byte) error {
			text, err := authority.EncodeKey(key)
			if err != nil {
				return err
			}
			return n.certs.own.keep(cert, text)
		}); last == nil {
			n.log.Info("another coordinator has renewed the certificate of this one", "signer", m.ID)
			return nil
		}
	}
	return last
}

// askMember asks the coordinator at addr, and passes what it signed to keep.
func (n *Node) askMember(ctx context.Context, addr string, request []byte, keep func(cert []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	body, err := n.port.Call(ctx, addr, methodSign, request)
	if err != nil {
		return err
	}
	var signed wire.SignedCertificate
	if err := json.Unmarshal(body, &signed); err != nil {
		return err
	}
	return keep([]byte(signed.Certificate))
}

// handleSign signs a certificate for a member's own id, which its present one proves.
func (n *Node) handleSign(_ context.Context, from peer.Hello, body []byte) ([]byte, error) {
	if n.certs.peer == nil {
		return nil, wire.Refuse(wire.CodeForbidden, "without TLS on the peer port nobody proves who it is")
	}
	signed, err := n.certs.Sign(from.ID, body)
	if err != nil {
		return nil, err
	}
	n.log.Info("signed a certificate for a member", "id", from.ID)
	return json.Marshal(signed)
}

// Sign implements tokens.Signer.
func (c *certificates) Sign(id string, request []byte) (wire.SignedCertificate, error) {
	ca, err := c.signer()
	if err != nil {
		return wire.SignedCertificate{}, err
	}
	key, hosts, err := authority.ParseRequest(request)
	if err != nil {
		return wire.SignedCertificate{}, wire.Invalid("csr", "%v", err)
	}
	cert, err := ca.Sign(key, authority.Leaf{Role: authority.RoleMember, ID: id, Hosts: hosts, Life: certfile.LeafLife})
	if err != nil {
		return wire.SignedCertificate{}, wire.Invalid("id", "%v", err)
	}
	var trust []byte
	for _, a := range c.own.watcher.Current().Authorities {
		trust = append(trust, authority.EncodeCertificate(a.Raw)...)
	}
	return wire.SignedCertificate{Certificate: string(cert), CA: string(trust)}, nil
}

// Authority implements tokens.Signer.
func (c *certificates) Authority() (sum [sha256.Size]byte, err error) {
	if c.peer == nil {
		return sum, wire.Refuse(wire.CodeConflict, "coordinators show no certificates to each other here, so that nobody needs one to join: give them all a --tls-dir first")
	}
	ca, err := c.signer()
	if err != nil {
		return sum, err
	}
	return sha256.Sum256(ca.Certificate().Raw), nil
}

// Trusts implements tokens.Signer.
func (c *certificates) Trusts(sum [sha256.Size]byte) bool {
	return c.peer != nil && slices.ContainsFunc(c.peer.Current().Authorities, func(a *x509.Certificate) bool { return sha256.Sum256(a.Raw) == sum })
}

// signer is the own authority; unavailable without one.
func (c *certificates) signer() (*authority.CA, error) {
	if c.own == nil {
		return nil, wire.NotTried("this coordinator has no %s to sign with", certfile.CAKeyFile)
	}
	ca, err := c.own.authority()
	if err != nil {
		return nil, wire.NotTried("this coordinator cannot sign: %v", err)
	}
	if ca == nil {
		return nil, wire.NotTried("this coordinator has no %s to sign with", certfile.CAKeyFile)
	}
	return ca, nil
}

// reload reads all files now, because somebody says that they are complete, and has the own certificate looked at. What
// is wrong with them is logged, counted and returned; the old stay.
func (c *certificates) reload() error {
	var errs []error
	for _, w := range c.watchers() {
		errs = append(errs, w.Reload())
	}
	for _, wake := range []chan struct{}{c.renewNow, c.reconnect} {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return errors.Join(errs...)
}

// peerConnectionAge is how old a connection to another coordinator may be. It has the certificates of its beginning.
const peerConnectionAge = 45 * time.Minute

// renewConnections makes connections to other coordinators anew when they are old, or when certificates were read again
// because somebody asked for it. No request fails for it.
func (n *Node) renewConnections(ctx context.Context) error {
	if n.certs.peer == nil {
		return nil
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		var before time.Time
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			before = time.Now().Add(-peerConnectionAge)
		case <-n.certs.reconnect:
			before = time.Now()
			n.port.Renew()
		}
		n.raft.RenewStreams(before)
		n.router.RenewLinks(before)
	}
}
