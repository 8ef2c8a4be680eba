package zmtp

import (
	"bufio"
	"encoding/binary"
	"io"
	"time"
)

// Flags of a frame (RFC 23/ZMTP 3.0, RFC 37/ZMTP 3.1).
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

// appendFrame appends one frame to dst.
func appendFrame(dst []byte, flags byte, body []byte) []byte {
	if len(body) > 255 {
		dst = append(dst, flags|flagLong)
		dst = binary.BigEndian.AppendUint64(dst, uint64(len(body)))
	} else {
		dst = append(dst, flags, byte(len(body)))
	}
	return append(dst, body...)
}

// AppendMessage appends a message of one or more frames as it travels, for
// those who send the same message to many.
func AppendMessage(dst []byte, frames ...[]byte) []byte {
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = flagMore
		}
		dst = appendFrame(dst, flags, f)
	}
	return dst
}

// appendCommand appends a command frame.
func appendCommand(dst []byte, name string, body []byte) []byte {
	b := make([]byte, 0, 1+len(name)+len(body))
	b = append(b, byte(len(name)))
	b = append(b, name...)
	return appendFrame(dst, flagCommand, append(b, body...))
}

// splitCommand parts a command's name from its body.
func splitCommand(b []byte) (name string, body []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) || b[0] == 0 {
		return "", nil, broken("a command of %d bytes without a name", len(b))
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], nil
}

// readStep is what a frame may make us allocate before its bytes came.
const readStep = 64 << 10

// reader reads frames. It never holds more than twice what has come.
type reader struct {
	r    *bufio.Reader
	last int // bytes of the last message: a guess at the next

	within bool      // a message or command has begun and not ended
	began  time.Time // when somebody first waited for the piece of it that is due; zero: nobody has
}

// frame appends the body of the next frame to buf; the body may have at most
// limit bytes.
func (r *reader) frame(buf []byte, limit int) (flags byte, out []byte, err error) {
	flags, err = r.r.ReadByte()
	if err != nil {
		return 0, buf, err
	}
	r.within = true
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return 0, buf, broken("a frame with flags %#02x", flags)
	}
	var n uint64
	if flags&flagLong != 0 {
		head, err := r.r.Peek(8)
		if err != nil {
			return 0, buf, cut(err)
		}
		n = binary.BigEndian.Uint64(head)
		if _, err := r.r.Discard(8); err != nil {
			return 0, buf, cut(err)
		}
	} else {
		b, err := r.r.ReadByte()
		if err != nil {
			return 0, buf, cut(err)
		}
		n = uint64(b)
	}
	if n > uint64(limit) {
		return 0, buf, broken("a frame of %d bytes where %d are allowed", n, limit)
	}
	out, err = r.body(buf, int(n))
	return flags, out, err
}

// body appends n bytes to buf.
func (r *reader) body(buf []byte, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, readStep)
		start := len(buf)
		if need := start + step; need > cap(buf) {
			larger := make([]byte, start, max(need, min(2*start, start+n)))
			copy(larger, buf)
			buf = larger
		}
		buf = buf[:start+step]
		if _, err := io.ReadFull(r.r, buf[start:]); err != nil {
			return buf[:start], cut(err)
		}
		if step == readStep {
			r.began = time.Time{} // the next piece has its own time
		}
		n -= step
	}
	return buf, nil
}

// message reads the next message. commands are handed to heed on the way. The
// frames share one array that the caller owns.
func (r *reader) message(maxBytes, maxFrames int, heed func(command []byte) ([][]byte, error)) ([][]byte, error) {
	buf := make([]byte, 0, min(max(r.last, 64), readStep))
	var few [16]int
	ends := few[:0]
	for {
		start := len(buf)
		flags, out, err := r.frame(buf, maxBytes-start)
		if err != nil {
			return nil, err
		}
		buf = out
		if flags&flagCommand != 0 {
			command := buf[start:]
			if len(command) > maxCommand {
				return nil, broken("a command of %d bytes", len(command))
			}
			frames, err := heed(command)
			if len(ends) == 0 {
				r.whole()
			}
			if err != nil || frames != nil && len(ends) == 0 {
				return frames, err
			}
			buf = buf[:start]
			continue
		}
		if len(ends) == maxFrames {
			return nil, broken("a message of more than %d frames", maxFrames)
		}
		ends = append(ends, len(buf))
		if flags&flagMore == 0 {
			break
		}
	}
	r.whole()
	r.last = len(buf)
	frames := make([][]byte, len(ends))
	start := 0
	for i, end := range ends {
		frames[i] = buf[start:end:end]
		start = end
	}
	return frames, nil
}

// whole notes that what began has ended.
func (r *reader) whole() { r.within, r.began = false, time.Time{} }

// late tells whether the piece that is due has been waited for longer than
// limit. It is asked before every wait.
func (r *reader) late(limit time.Duration) bool {
	switch {
	case !r.within:
		return false
	case r.began.IsZero():
		r.began = time.Now()
		return false
	}
	return time.Since(r.began) > limit
}

// maxCommand bounds a command, the longest of which is a subscription.
const maxCommand = 8 << 10

// cut is an end in the midst of a frame.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
