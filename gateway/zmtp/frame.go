package zmtp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/folkmoot/folkmoot/wire/unfinished"
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
		return "", nil, protocolErrorf("a command of %d bytes without a name", len(b))
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], nil
}

// readStep is what a frame may make us allocate before its bytes came.
const readStep = 64 << 10

// longestFrame is the longest that is skipped; who announces more is no peer.
const longestFrame = 1 << 40

// excerptSize is how much is read of the frame by which a message is above the
// limits, so that its sender and receiver can be answered.
const excerptSize = 4 << 10

// TooLarge is the error of a message above the limits. The connection goes on:
// the next Receive skips the rest of the message.
type TooLarge struct {
	Frames    [][]byte // those that came before the limit was met, owned by the caller
	Start     []byte   // the first bytes (at most 4 KiB) of the frame that is too much
	Bytes     uint64   // of all frames up to that one, as announced
	MaxBytes  int      // the limits
	MaxFrames int
}

// Error says by how much.
func (e *TooLarge) Error() string {
	if len(e.Frames) == e.MaxFrames {
		return fmt.Sprintf("a message of more than %d frames", e.MaxFrames)
	}
	return fmt.Sprintf("a message of %d bytes or more is above the limit of %d", e.Bytes, e.MaxBytes)
}

// reader reads frames. It never holds more than twice what has come.
type reader struct {
	r    *bufio.Reader
	last int // bytes of the last message: a guess at the next

	unfinished *unfinished.Budget
	giveUp     func()              // ends the connection
	held       *unfinished.Message // of the message that comes, once it is long

	inMessage    bool      // a message or command has begun and not ended
	waitingSince time.Time // when the reader first waited for the piece of it that is due; zero: it has not

	skipping bool   // the rest of a message above the limits is still to come
	left     uint64 // bytes of its current frame to skip
	more     bool   // further frames follow that one
}

// header reads the flags and the length of the next frame.
func (r *reader) header() (flags byte, n uint64, err error) {
	flags, err = r.r.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	r.inMessage = true
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return 0, 0, protocolErrorf("a frame with flags %#02x", flags)
	}
	if flags&flagLong == 0 {
		b, err := r.r.ReadByte()
		return flags, uint64(b), unexpectedEOF(err)
	}
	long, err := r.r.Peek(8)
	if err != nil {
		return 0, 0, unexpectedEOF(err)
	}
	if n = binary.BigEndian.Uint64(long); n > longestFrame {
		return 0, 0, protocolErrorf("a frame of %d bytes", n)
	}
	_, err = r.r.Discard(8)
	return flags, n, unexpectedEOF(err)
}

// frame appends the body of the next frame to buf; the body may have at most
// limit bytes.
func (r *reader) frame(buf []byte, limit int) (flags byte, out []byte, err error) {
	flags, n, err := r.header()
	if err != nil {
		return 0, buf, err
	}
	if n > uint64(limit) {
		return 0, buf, protocolErrorf("a frame of %d bytes where %d are allowed", n, limit)
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
			room := max(need, min(2*start, start+n))
			if room > readStep && r.held == nil {
				r.held = r.unfinished.Begin(r.giveUp)
			}
			if !r.held.Grow(room - cap(buf)) {
				return buf, protocolErrorf("too much of messages has begun, and this one first")
			}
			larger := make([]byte, start, room)
			copy(larger, buf)
			buf = larger
		}
		buf = buf[:start+step]
		if _, err := io.ReadFull(r.r, buf[start:]); err != nil {
			return buf[:start], unexpectedEOF(err)
		}
		if step == readStep {
			r.waitingSince = time.Time{} // the next piece has its own time
		}
		n -= step
	}
	return buf, nil
}

// message reads the next message. commands are handed to onCommand on the way. The
// frames share one array that the caller owns. The error of a message above the
// limits is a *TooLarge; what is left of it is skipped by the next call.
func (r *reader) message(maxBytes, maxFrames int, onCommand func(command []byte) ([][]byte, error)) ([][]byte, error) {
	if err := r.skip(onCommand); err != nil {
		return nil, err
	}
	defer func() {
		r.held.End()
		r.held = nil
	}()
	buf := make([]byte, 0, min(max(r.last, 64), readStep))
	var few [16]int
	ends := few[:0]
	for {
		start := len(buf)
		flags, n, err := r.header()
		if err != nil {
			return nil, err
		}
		if flags&flagCommand != 0 {
			frames, err := r.command(n, onCommand)
			if len(ends) == 0 {
				r.messageDone()
			}
			if err != nil || frames != nil && len(ends) == 0 {
				return frames, err
			}
			continue
		}
		if n > uint64(maxBytes-start) || len(ends) == maxFrames {
			return nil, r.tooLarge(splitFrames(buf, ends), flags, n, maxBytes, maxFrames)
		}
		if buf, err = r.body(buf, int(n)); err != nil {
			return nil, err
		}
		ends = append(ends, len(buf))
		if flags&flagMore == 0 {
			break
		}
	}
	r.messageDone()
	r.last = len(buf)
	return splitFrames(buf, ends), nil
}

// splitFrames cuts what was read into its frames.
func splitFrames(buf []byte, ends []int) [][]byte {
	frames := make([][]byte, len(ends))
	start := 0
	for i, end := range ends {
		frames[i] = buf[start:end:end]
		start = end
	}
	return frames
}

// command reads the body of a command of n bytes and hands it to onCommand.
func (r *reader) command(n uint64, onCommand func(command []byte) ([][]byte, error)) ([][]byte, error) {
	if n > maxCommand {
		return nil, protocolErrorf("a command of %d bytes", n)
	}
	b, err := r.body(nil, int(n))
	if err != nil {
		return nil, err
	}
	return onCommand(b)
}

// tooLarge reads the start of the frame that is too much and leaves the rest to
// skip.
func (r *reader) tooLarge(frames [][]byte, flags byte, n uint64, maxBytes, maxFrames int) error {
	e := &TooLarge{Frames: frames, MaxBytes: maxBytes, MaxFrames: maxFrames}
	for _, f := range frames {
		e.Bytes += uint64(len(f))
	}
	e.Bytes += n
	begin, err := r.body(nil, int(min(n, excerptSize)))
	if err != nil {
		return err
	}
	e.Start = begin
	r.skipping, r.left, r.more = true, n-uint64(len(begin)), flags&flagMore != 0
	return e
}

// skip reads to the end of a message above the limits and keeps nothing of it.
func (r *reader) skip(onCommand func(command []byte) ([][]byte, error)) error {
	for r.skipping {
		if err := r.discard(r.left); err != nil {
			return err
		}
		if r.left = 0; !r.more {
			r.skipping = false
			r.messageDone()
			return nil
		}
		flags, n, err := r.header()
		switch {
		case err != nil:
			return unexpectedEOF(err)
		case flags&flagCommand != 0:
			if _, err := r.command(n, onCommand); err != nil {
				return err
			}
		default:
			r.left, r.more = n, flags&flagMore != 0
		}
	}
	return nil
}

// discard drops n bytes.
func (r *reader) discard(n uint64) error {
	for n > 0 {
		step := min(n, readStep)
		if _, err := r.r.Discard(int(step)); err != nil {
			return unexpectedEOF(err)
		}
		if step == readStep {
			r.waitingSince = time.Time{} // the next piece has its own time
		}
		n -= step
	}
	return nil
}

// messageDone notes that a message or command is complete.
func (r *reader) messageDone() { r.inMessage, r.waitingSince = false, time.Time{} }

// overdue reports whether the piece that is due has been waited for longer than
// limit. It is called before every wait.
func (r *reader) overdue(limit time.Duration) bool {
	switch {
	case !r.inMessage:
		return false
	case r.waitingSince.IsZero():
		r.waitingSince = time.Now()
		return false
	}
	return time.Since(r.waitingSince) > limit
}

// maxCommand bounds a command, the longest of which is a subscription.
const maxCommand = 8 << 10

// unexpectedEOF converts the error of a stream that ended inside a frame.
func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
