package route

import "errors"

const (
	// MaxLen bounds the coordinators on a route, both ends included.
	MaxLen = 256
	// MaxCode bounds the bytes of a route in a frame.
	MaxCode = 1 << 14
)

// appendID appends an id as frames hold it: its length in one byte, then itself.
func appendID(dst []byte, id string) []byte { return append(append(dst, byte(len(id))), id...) }

func cutID(b []byte) (id string, rest []byte, err error) {
	if len(b) < 1 || len(b) < 1+int(b[0]) || b[0] == 0 {
		return "", nil, errors.New("an id is cut short")
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], nil
}

// encode returns the ids of a route as a relay holds them.
func encode(ids []string) (code []byte) {
	for _, id := range ids {
		code = appendID(code, id)
	}
	return code
}
