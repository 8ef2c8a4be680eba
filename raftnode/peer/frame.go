package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// A call connection carries frames, in version 1 (2026-11):
//
//	4 bytes  n, the length of what follows the check sum: 9 to MaxFrame
//	4 bytes  CRC-32C of the n bytes
//	1 byte   type
//	8 bytes  id of the call, chosen by the caller, not 0; 0 in ping and pong
//	request: 8 bytes remaining time in microseconds, 0 for none;
//	         1 byte length of the method, the method, the body
//	answer:  the body
//	failure: JSON of a wire.Error
//	cancel, ping, pong: nothing more
//
// Numbers are big-endian. Any error ends the connection; there is no resynchronisation.
const (
	frameRequest byte = 1 + iota
	frameAnswer
	frameFailure
	frameCancel
	framePing
	framePong
)

const (
	headSize   = 8     // length and check sum
	minPayload = 1 + 8 // type and id
	readStep   = 64 * 1024
	maxMethod  = 255
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is one decoded frame. body shares memory with what it was decoded from.
type frame struct {
	kind   byte
	id     uint64
	left   time.Duration // remaining time of a request; 0 for no limit
	method string
	body   []byte
}

// encode appends the frame to nothing: one allocation of the right size.
func (f frame) encode() []byte {
	n := minPayload + len(f.body)
	if f.kind == frameRequest {
		n += 8 + 1 + len(f.method)
	}
	b := make([]byte, headSize, headSize+n)
	b = append(b, f.kind)
	b = binary.BigEndian.AppendUint64(b, f.id)
	if f.kind == frameRequest {
		b = binary.BigEndian.AppendUint64(b, uint64(f.left.Microseconds()))
		b = append(b, byte(len(f.method)))
		b = append(b, f.method...)
	}
	b = append(b, f.body...)
	binary.BigEndian.PutUint32(b, uint32(n))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[headSize:], castagnoli))
	return b
}

// readFrame reads one frame of at most limit bytes. It allocates as bytes
// arrive, not as the length promises.
func readFrame(r io.Reader, limit int) (frame, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < minPayload || uint64(n) > uint64(limit) {
		return frame{}, fmt.Errorf("frame of %d bytes, not %d to %d", n, minPayload, limit)
	}
	b := make([]byte, 0, min(int(n), readStep))
	for len(b) < int(n) {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(int(n), 4*cap(b)))
			copy(grown, b)
			b = grown
		}
		part := b[len(b):cap(b)]
		if _, err := io.ReadFull(r, part); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return frame{}, err
		}
		b = b[:cap(b)]
	}
	if sum := crc32.Checksum(b, castagnoli); sum != binary.BigEndian.Uint32(head[4:]) {
		return frame{}, errors.New("frame with a wrong check sum")
	}
	return decode(b)
}

func decode(b []byte) (frame, error) {
	f := frame{kind: b[0], id: binary.BigEndian.Uint64(b[1:]), body: b[minPayload:]}
	switch f.kind {
	case frameRequest:
		if len(f.body) < 9 {
			return frame{}, errors.New("request cut short")
		}
		left := binary.BigEndian.Uint64(f.body)
		if left > math.MaxInt64/1000 {
			return frame{}, errors.New("request with an impossible deadline")
		}
		f.left = time.Duration(left) * time.Microsecond
		m := int(f.body[8])
		if len(f.body) < 9+m {
			return frame{}, errors.New("request cut short")
		}
		f.method, f.body = string(f.body[9:9+m]), f.body[9+m:]
	case frameAnswer, frameFailure:
	case frameCancel, framePing, framePong:
		if len(f.body) != 0 {
			return frame{}, fmt.Errorf("frame of type %d with a body", f.kind)
		}
	default:
		return frame{}, fmt.Errorf("frame of unknown type %d", f.kind)
	}
	if beat := f.kind == framePing || f.kind == framePong; beat != (f.id == 0) {
		return frame{}, fmt.Errorf("frame of type %d with call id %d", f.kind, f.id)
	}
	return f, nil
}
