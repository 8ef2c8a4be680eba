package home

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/folkmoot/folkmoot/wire"
)

// logFile is the log of one try. As long as nothing was dropped the file is the
// output as it came. Else it is wire.LogHead bytes of the output's beginning, a
// ring of wire.LogTail bytes, in which the byte at offset o of the output is at
// (o-LogHead) modulo LogTail, and a trailer that says what the ring holds.
type logFile struct {
	f    *os.File
	size int64 // of the file
	// The output from tail to end is kept, and its first wire.LogHead bytes; tail
	// is LogHead as long as nothing was dropped.
	tail, end int64
}

// logTrailer is the size of the trailer behind MaxPartLog bytes: tail and end, each
// as 8 bytes, the highest first.
const logTrailer = 16

func openLog(f *os.File) (*logFile, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("measure part log: %w", err)
	}
	l := &logFile{f: f, size: size, tail: wire.LogHead, end: size}
	if size <= MaxPartLog {
		return l, nil
	}
	var b [logTrailer]byte
	if _, err := f.ReadAt(b[:], MaxPartLog); err != nil {
		return nil, fmt.Errorf("read part log: %w", err)
	}
	l.tail, l.end = int64(binary.BigEndian.Uint64(b[:8])), int64(binary.BigEndian.Uint64(b[8:]))
	if l.tail < wire.LogHead || l.end < l.tail || l.end-l.tail > wire.LogTail {
		return nil, fmt.Errorf("part log %s is damaged: it says that it holds bytes %d to %d of the output", f.Name(), l.tail, l.end)
	}
	return l, nil
}

// add writes output that begins at offset and ends behind l.end. The trailer
// never counts bytes that are not there, whenever the process ends.
func (l *logFile) add(offset int64, data []byte) error {
	if offset < l.end {
		data, offset = data[l.end-offset:], l.end
	}
	if offset < wire.LogHead {
		n := min(int64(len(data)), wire.LogHead-offset)
		if err := l.write(data[:n], offset); err != nil {
			return err
		}
		data, offset, l.end = data[n:], offset+n, offset+n
	}
	if over := int64(len(data)) - wire.LogTail; over > 0 {
		data, offset = data[over:], offset+over
	}
	if offset > l.end { // what came before the gap is not the end any more
		l.tail, l.end = offset, offset
	}
	end := offset + int64(len(data))
	if l.tail = max(l.tail, end-wire.LogTail); l.tail > wire.LogHead {
		if err := l.mark(); err != nil {
			return err
		}
	}
	for len(data) > 0 {
		place := (offset - wire.LogHead) % wire.LogTail
		n := min(int64(len(data)), wire.LogTail-place)
		if err := l.write(data[:n], wire.LogHead+place); err != nil {
			return err
		}
		data, offset = data[n:], offset+n
	}
	l.end = end
	if l.tail > wire.LogHead {
		return l.mark()
	}
	return nil
}

// mark writes the trailer.
func (l *logFile) mark() error {
	var b [logTrailer]byte
	binary.BigEndian.PutUint64(b[:8], uint64(l.tail))
	binary.BigEndian.PutUint64(b[8:], uint64(l.end))
	return l.write(b[:], MaxPartLog)
}

func (l *logFile) write(data []byte, at int64) error {
	n, err := l.f.WriteAt(data, at)
	l.size = max(l.size, at+int64(n))
	return err
}

// read returns up to LogChunkSize bytes of the output from offset on, and where to
// read on. Where output was dropped it is a mark instead (cut).
func (l *logFile) read(offset int64) (data []byte, next int64, cut bool, err error) {
	place, last := offset, l.end
	switch {
	case offset >= l.end:
		return nil, offset, false, nil
	case offset >= wire.LogHead && offset < l.tail:
		return fmt.Appendf(nil, "\n[cut: %d bytes of output are left out here: a log keeps the first %d KiB and the last %d KiB]\n",
			l.tail-offset, wire.LogHead>>10, wire.LogTail>>10), l.tail, true, nil
	case l.tail > wire.LogHead && offset < wire.LogHead:
		last = wire.LogHead
	case l.tail > wire.LogHead:
		place = (offset - wire.LogHead) % wire.LogTail
		last = min(last, offset+wire.LogTail-place)
		place += wire.LogHead
	}
	data = make([]byte, min(LogChunkSize, last-offset))
	n, err := l.f.ReadAt(data, place)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], offset + int64(n), false, err
}
