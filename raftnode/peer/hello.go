package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// Hello is who a coordinator says it is, exchanged on every connection before
// anything else.
type Hello struct {
	// Version is the newest version of the peer protocol the speaker knows. An
	// acceptor refuses one above its own: the newer side speaks the older's.
	Version int `json:"version"`
	// Cluster is the cluster's id, "" while the speaker has not learnt it.
	Cluster string `json:"cluster,omitempty"`
	// ServerID is the raft server id, name/incarnation; "" before there is one.
	ServerID string `json:"server_id,omitempty"`
	// ID is the coordinator's name. With TLS it must be the certificate's.
	ID string `json:"id,omitempty"`
	// Boot tells two runs of one server apart.
	Boot uint64 `json:"boot,omitempty"`
}

// name is what a log or an error calls the other side.
func (h Hello) name() string {
	switch {
	case h.ServerID != "":
		return h.ServerID
	case h.ID != "":
		return h.ID
	default:
		return "a coordinator without a name"
	}
}

// is reports whether h is the coordinator wanted by its server id or its id.
func (h Hello) is(want string) bool { return want == "" || want == h.ServerID || want == h.ID }

// Kind is the first byte of a connection: what it is for.
type Kind byte

// The kinds of connections.
const (
	KindRaft Kind = 'R'
	KindLink Kind = 'L'
	KindCall Kind = 'C'
)

func isKind(b byte) bool {
	k := Kind(b)
	return k == KindRaft || k == KindLink || k == KindCall
}

func (k Kind) String() string {
	switch k {
	case KindRaft:
		return "raft"
	case KindLink:
		return "link"
	case KindCall:
		return "call"
	default:
		return fmt.Sprintf("kind 0x%02x", byte(k))
	}
}

// The greeting, in version 1 (2026-11), after TLS where it is used:
//
//	dialer   -> 1 byte kind, 4 bytes length, JSON {"version",...,"want"}
//	acceptor -> 1 byte '+',  4 bytes length, JSON of its Hello
//	        or  1 byte '-',  4 bytes length, JSON of a wire.Error; then it closes
//
// Lengths are big-endian and at most maxHello. Unknown fields are ignored.
const (
	maxHello = 4 << 10
	accepted = '+'
	refused  = '-'
)

// greeting is what a dialer says: who it is, and whom it wants to reach.
type greeting struct {
	Hello
	Want string `json:"want,omitempty"`
}

func writeGreeting(w io.Writer, first byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxHello {
		return fmt.Errorf("hello of %d bytes is longer than %d", len(body), maxHello)
	}
	b := make([]byte, 5, 5+len(body))
	b[0] = first
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)))
	_, err = w.Write(append(b, body...))
	return err
}

// readGreeting reads what follows the first byte, and not one byte more.
func readGreeting(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxHello {
		return fmt.Errorf("hello of %d bytes is longer than %d", n, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	return nil
}

// validate refuses a dialer whose greeting does not fit the own hello. id is the
// name in its certificate, "" without TLS.
func (g greeting) validate(own Hello, id string) (Reason, *wire.Error) {
	switch {
	case g.Version < 1:
		return ReasonProtocol, wire.Invalid("version", "hello without a version")
	case g.Version > own.Version:
		return ReasonProtocol, wire.Refuse(wire.CodeForbidden, "%s speaks peer version %d, %s only up to %d: upgrade it first", g.name(), g.Version, own.name(), own.Version)
	case !own.is(g.Want):
		return ReasonProtocol, wire.Refuse(wire.CodeForbidden, "wanted %s, but this is %s", g.Want, own.name())
	}
	return sameCluster(g.Hello, own, id)
}

// The refusal of a coordinator of another cluster begins with the one and ends
// with the other.
const (
	foreignPrefix = "foreign cluster: "
	foreignAdvice = "; leave the one out of the --join of the other, or start the one that is to move over with an empty data directory"
)

// Foreign returns the part of an error that says that the coordinator which was
// called and this one belong to different clusters, and whether it says so. A call
// that was refused at the greeting is only unavailable by its code.
func Foreign(err error) (said string, ok bool) {
	if err == nil {
		return "", false
	}
	_, said, ok = strings.Cut(err.Error(), foreignPrefix)
	said, _, _ = strings.Cut(said, foreignAdvice)
	return said, ok
}

// sameCluster is the part of the check that both sides make.
func sameCluster(other, own Hello, id string) (Reason, *wire.Error) {
	switch {
	case other.Cluster != "" && own.Cluster != "" && other.Cluster != own.Cluster:
		return ReasonCluster, wire.Refuse(wire.CodeForbidden, foreignPrefix+"%s belongs to cluster %s, %s to %s"+foreignAdvice, other.name(), other.Cluster, own.name(), own.Cluster)
	case id != "" && other.ID != id:
		return ReasonID, wire.Refuse(wire.CodeForbidden, "%q says hello with the certificate of %q", other.ID, id)
	case id != "" && other.ServerID != "" && !strings.HasPrefix(other.ServerID, id+"/"):
		return ReasonID, wire.Refuse(wire.CodeForbidden, "server %q says hello with the certificate of %q", other.ServerID, id)
	}
	return "", nil
}

// dialHandshake is the dialer's side of the greeting. The error is a *wire.Error
// when the other side, or this one, refused.
func dialHandshake(c net.Conn, kind Kind, own Hello, want, id string, deadline time.Time) (Hello, error) {
	if err := c.SetDeadline(deadline); err != nil {
		return Hello{}, err
	}
	if err := writeGreeting(c, byte(kind), greeting{Hello: own, Want: want}); err != nil {
		return Hello{}, fmt.Errorf("say hello: %w", err)
	}
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the other side closed the connection without an answer")
		}
		return Hello{}, fmt.Errorf("wait for hello: %w", err)
	}
	switch first[0] {
	case accepted:
	case refused:
		var no wire.Error
		if err := readGreeting(c, &no); err != nil {
			return Hello{}, fmt.Errorf("read refusal: %w", err)
		}
		return Hello{}, &no
	case 0x15, 0x16: // a TLS alert or handshake record
		return Hello{}, errors.New("the other side speaks TLS, this one does not")
	default:
		return Hello{}, fmt.Errorf("no coordinator answers there (first byte 0x%02x)", first[0])
	}
	var other Hello
	if err := readGreeting(c, &other); err != nil {
		return Hello{}, fmt.Errorf("read hello: %w", err)
	}
	if !other.is(want) {
		return Hello{}, wire.Refuse(wire.CodeForbidden, "wanted %s, but %s answered", want, other.name())
	}
	if _, no := sameCluster(other, own, id); no != nil {
		return Hello{}, no
	}
	return other, c.SetDeadline(time.Time{})
}
