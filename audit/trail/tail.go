package trail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/folkmoot/folkmoot/audit"
)

// end is where a trail on disk ends.
type end struct {
	chain       audit.Chain
	coordinator string // of the newest line
	number      int    // of the newest file; 0: there is none
	size        int64  // of that, once it is mended
	repaired    string // what was mended; "" is nothing
}

// findEnd reads where the trail in dir ends and mends a last line that a process had begun when it was killed: what
// has its whole content is given its end, anything else is taken away.
func findEnd(dir string) (e end, err error) {
	numbers, err := fileNumbers(dir)
	if err != nil {
		return e, err
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		name := fileName(numbers[i])
		last, size, repaired, err := mendTail(filepath.Join(dir, name))
		if err != nil {
			return e, fmt.Errorf("%s: %w", name, err)
		}
		if e.number == 0 {
			e.number, e.size = numbers[i], size
		}
		if repaired != "" {
			e.repaired = name + ": " + repaired
		}
		if last != nil {
			return e, e.readLast(filepath.Join(dir, name), last, size)
		}
	}
	return e, nil
}

// mendTail returns the last whole line of a file (nil: there is none) and the file's size once it ends with one.
func mendTail(path string) (last []byte, size int64, repaired string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, "", err
	}
	size = info.Size()
	start, torn, err := lineBefore(f, size)
	if err != nil {
		return nil, 0, "", err
	}
	if len(torn) > 0 {
		if size, repaired, err = mend(f, start, torn); err != nil {
			return nil, 0, "", err
		}
	}
	if size == 0 {
		return nil, 0, repaired, nil
	}
	_, last, err = lineBefore(f, size-1)
	return last, size, repaired, err
}

// mend ends a file with a whole line. start is where what has no end begins.
func mend(f *os.File, start int64, torn []byte) (size int64, repaired string, err error) {
	size = start + int64(len(torn))
	if follows(f, start, torn) {
		if _, err := f.WriteAt([]byte("\n"), size); err == nil {
			return size + 1, "the last line was given its end", f.Sync()
		}
		// There may be no room for it. A start does not wait for that: the line was not on the disk for certain.
	}
	if err := f.Truncate(start); err != nil {
		return 0, "", err
	}
	return start, fmt.Sprintf("%d bytes of a line without an end were taken away", len(torn)), f.Sync()
}

// follows reports whether what has no end is the whole line that comes behind the one before start.
func follows(f *os.File, start int64, torn []byte) bool {
	line, err := audit.ParseLine(torn)
	if err != nil {
		return false
	}
	if start == 0 {
		return true // what is in the file before is not known here: the verifier has both
	}
	_, before, err := lineBefore(f, start-1)
	return err == nil && line.Prev == audit.HashLine(before)
}

// searchBlock is how many bytes are read at once in search of a newline, backwards.
const searchBlock = 64 << 10

// lineBefore returns the bytes between the last newline before end, or the beginning of the file, and end.
func lineBefore(f io.ReaderAt, end int64) (start int64, line []byte, err error) {
	for from := end; ; {
		from = max(0, from-searchBlock)
		block := make([]byte, min(searchBlock, end-from))
		if _, err := f.ReadAt(block, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, nil, err
		}
		newline := bytes.LastIndexByte(block, '\n')
		if newline < 0 && from > 0 {
			if end-from > audit.MaxLine+searchBlock {
				return 0, nil, fmt.Errorf("no line of a trail ends at byte %d: more than %d bytes without a newline stand before it", end, audit.MaxLine)
			}
			continue
		}
		start = from + int64(newline) + 1
		line = make([]byte, end-start)
		_, err := f.ReadAt(line, start)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return start, line, err
	}
}

// readLast reads number and hash of the newest line. One that somebody has made unreadable does not end the trail: the
// next line is tied to its bytes, and the verifier names it.
func (e *end) readLast(path string, raw []byte, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	e.chain.Hash = audit.HashLine(raw)
	at := size - 1
	for behind := uint64(0); ; behind++ {
		line, err := audit.ParseLine(raw)
		if err == nil {
			e.chain.Seq, e.coordinator = line.Seq+behind, line.Coordinator
			return nil
		}
		start, _, err := lineBefore(f, at)
		if err != nil {
			return err
		}
		if start == 0 {
			e.chain.Seq = behind + 1
			return nil
		}
		at = start - 1
		if _, raw, err = lineBefore(f, at); err != nil {
			return err
		}
	}
}
