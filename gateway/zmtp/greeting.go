package zmtp

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"
)

const greetingSize = 64

// greeting is ours: version 3.1, NULL, which knows no server.
func greeting() []byte {
	var g [greetingSize]byte
	g[0], g[9], g[10], g[11] = 0xFF, 0x7F, 3, 1
	copy(g[12:32], "NULL")
	return g[:]
}

// readGreeting reads and checks the other side's. libzmq sends the rest of its own only
// when the first bytes of ours have come, so ours is written before this. A
// peer that cannot be one is found by its first bytes.
func readGreeting(r io.Reader) (minor byte, err error) {
	var g [greetingSize]byte
	if _, err := io.ReadFull(r, g[:1]); err != nil {
		return 0, err
	}
	if g[0] != 0xFF {
		return 0, protocolErrorf("a greeting that starts with %#02x: not ZMTP", g[0])
	}
	if _, err := io.ReadFull(r, g[1:11]); err != nil {
		return 0, unexpectedEOF(err)
	}
	switch {
	case g[9]&1 != 1:
		return 0, protocolErrorf("a greeting without signature: not ZMTP")
	case g[10] < 3:
		return 0, protocolErrorf("ZMTP %d, this side speaks 3", g[10])
	}
	if _, err := io.ReadFull(r, g[11:]); err != nil {
		return 0, unexpectedEOF(err)
	}
	if mechanism := string(bytes.TrimRight(g[12:32], "\x00")); mechanism != "NULL" {
		return 0, protocolErrorf("security mechanism %q, this side knows NULL", mechanism)
	}
	return g[11], nil
}

// ready is our READY command.
func ready(socket string) []byte {
	body := appendProperty(nil, "Socket-Type", socket)
	if socket == "DEALER" || socket == "ROUTER" {
		body = appendProperty(body, "Identity", "")
	}
	return appendCommand(nil, "READY", body)
}

func appendProperty(dst []byte, name, value string) []byte {
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// readReady reads the other side's READY and returns its socket type, which
// must be one of peers, and its identity.
func readReady(r *reader, peers []string) (socket, identity string, err error) {
	flags, body, err := r.frame(nil, 4096)
	if err != nil {
		return "", "", err
	}
	if flags&flagCommand == 0 {
		return "", "", protocolErrorf("a message before READY")
	}
	name, body, err := splitCommand(body)
	switch {
	case err != nil:
		return "", "", err
	case name == "ERROR":
		return "", "", protocolErrorf("the peer refuses: %.255q", body)
	case name != "READY":
		return "", "", protocolErrorf("command %.20q before READY", name)
	}
	properties, err := parseProperties(body)
	if err != nil {
		return "", "", err
	}
	socket, identity = properties["socket-type"], properties["identity"]
	if !slices.Contains(peers, socket) {
		return "", "", protocolErrorf("a peer of type %.20q, expected is one of %v", socket, peers)
	}
	return socket, identity, nil
}

// parseProperties reads a READY's metadata; names are without case.
func parseProperties(b []byte) (map[string]string, error) {
	found := map[string]string{}
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n+4 {
			return nil, protocolErrorf("READY ends inside a property's name")
		}
		name := strings.ToLower(string(b[1 : 1+n]))
		size := binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		if uint64(size) > uint64(len(b)) {
			return nil, protocolErrorf("READY announces a property of %d bytes where %d are left", size, len(b))
		}
		found[name] = string(b[:size])
		b = b[size:]
	}
	return found, nil
}
