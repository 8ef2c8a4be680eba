package link

import "encoding/binary"

const (
	// RelayVersion is that of links that take relays and reports.
	RelayVersion = 2
	relayHead    = 1 + 8 + 2
	maxRouteCode = 1 << 14 // bytes of a route in a frame
)

// SourceRoute is what a relay says before its data body.
type SourceRoute struct {
	Hops  byte
	Epoch uint64
	Code  []byte // the route
}

// Size is how long it is in a frame; 0 for nil.
func (sr *SourceRoute) Size() int {
	if sr == nil {
		return 0
	}
	return relayHead + len(sr.Code)
}

// AppendSourceRoute appends it as a relay begins with it.
func AppendSourceRoute(dst []byte, sr *SourceRoute) []byte {
	dst = append(dst, sr.Hops)
	dst = binary.BigEndian.AppendUint64(dst, sr.Epoch)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(sr.Code)))
	return append(dst, sr.Code...)
}

// ParseSourceRoute reads one and returns the data body. Code aliases b.
func ParseSourceRoute(b []byte) (sr SourceRoute, body []byte, err error) {
	if len(b) < relayHead {
		return sr, nil, Malformed("relay of %d bytes, the head alone has %d", len(b), relayHead)
	}
	sr.Hops, sr.Epoch = b[0], binary.BigEndian.Uint64(b[1:])
	n := int(binary.BigEndian.Uint16(b[9:]))
	b = b[relayHead:]
	if n > len(b) || n > maxRouteCode {
		return sr, nil, Malformed("a way of %d bytes where %d are left", n, len(b))
	}
	sr.Code = b[:n:n]
	return sr, b[n:], nil
}
