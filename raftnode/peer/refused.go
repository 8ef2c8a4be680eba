package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/wire"
)

// Reason says why a connection was refused, in a word.
type Reason string

// All of them. Down to ReasonTLS not one byte of the protocol was read.
const (
	ReasonPlain            Reason = "plain"             // it does not speak TLS
	ReasonNoCertificate    Reason = "no_certificate"    // it shows none
	ReasonSelfSigned       Reason = "self_signed"       // signed by itself
	ReasonUnknownAuthority Reason = "unknown_authority" // signed by one that is not trusted
	ReasonExpired          Reason = "expired"           // its time is over
	ReasonNotYetValid      Reason = "not_yet_valid"     // or has not begun
	ReasonPurpose          Reason = "purpose"           // for other use
	ReasonURIs             Reason = "uris"              // not exactly one URI, or one that is no name
	ReasonRole             Reason = "role"              // no member
	ReasonCluster          Reason = "cluster"           // a member of another cluster, by its certificate or its hello
	ReasonCertificate      Reason = "certificate"       // wrong in another way
	ReasonTLS              Reason = "tls"               // no handshake: an old version, or the other side refused

	ReasonID        Reason = "id"         // says hello with the certificate of another
	ReasonProtocol  Reason = "protocol"   // no coordinator, one of a newer version, or one that wants somebody else
	ReasonNotMember Reason = "not_member" // Config.Admit
	ReasonBusy      Reason = "busy"       // too many connections
	ReasonTimeout   Reason = "timeout"    // no hello in time
)

// Reasons lists all reasons.
func Reasons() []Reason {
	return []Reason{
		ReasonPlain, ReasonNoCertificate, ReasonSelfSigned, ReasonUnknownAuthority, ReasonExpired, ReasonNotYetValid, ReasonPurpose, ReasonURIs,
		ReasonRole, ReasonCluster, ReasonCertificate, ReasonTLS, ReasonID, ReasonProtocol, ReasonNotMember, ReasonBusy, ReasonTimeout,
	}
}

// Refused is a connection that was refused: who, and why.
type Refused struct {
	Remote      string // address
	Certificate string // the name in its certificate, "" if it showed none that could be read
	Reason      Reason
	Err         error
}

// RefusedError is a certificate that was refused.
type RefusedError struct {
	Reason Reason
	Err    error
}

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *RefusedError) Unwrap() error { return e.Err }

func refuse(why Reason, format string, args ...any) error {
	return &RefusedError{why, fmt.Errorf(format, args...)}
}

// withReason has a refusal counted for a reason; its code and text stay.
func withReason(why Reason, no *wire.Error) error { return &RefusedError{why, no} }

// chainReason says why a certificate was not verified.
func chainReason(leaf *x509.Certificate, err error) Reason {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		if leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
			return ReasonSelfSigned
		}
		return ReasonUnknownAuthority
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if time.Now().Before(leaf.NotBefore) {
			return ReasonNotYetValid
		}
		return ReasonExpired
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return ReasonPurpose
	}
	return ReasonCertificate
}

// reasonOf says why a handshake failed.
func reasonOf(err error) Reason {
	var r *RefusedError
	var plain tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &r):
		return r.Reason
	case errors.As(err, &plain):
		return ReasonPlain
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ReasonProtocol
	}
	return ReasonTLS
}

// refusals counts them.
type refusals struct {
	mu sync.Mutex
	by map[Reason]uint64
}

func (r *refusals) count(why Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[Reason]uint64{}
	}
	r.by[why]++
}

// Refused counts the connections refused since the start, by reason, and with them calls of those that are no members.
func (p *Port) Refused() map[Reason]uint64 {
	p.refusals.mu.Lock()
	defer p.refusals.mu.Unlock()
	return maps.Clone(p.refusals.by)
}

// nameIn is the name in the certificate that the other side of a handshake showed, for the log.
func nameIn(s tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	leaf := s.PeerCertificates[0]
	if name, err := authority.NameOf(leaf); err == nil {
		return name.String()
	}
	if len(leaf.URIs) > 0 {
		return leaf.URIs[0].String()
	}
	return leaf.Subject.CommonName
}
