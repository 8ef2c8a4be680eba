package trail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"

	"github.com/folkmoot/folkmoot/audit"
)

// maxPage bounds the lines of a page together, in bytes.
const maxPage = 1 << 20

// Read returns up to limit lines behind number after, oldest first: fewer if they are long. It holds no writer up.
// Errors: a file cannot be read, or was changed.
func (t *Trail) Read(after uint64, limit int) (audit.Page, error) {
	numbers, err := fileNumbers(t.cfg.Dir)
	if err != nil {
		return audit.Page{}, err
	}
	r := reader{dir: t.cfg.Dir}
	return r.page(numbers, after, limit)
}

// reader reads files of a trail that another may write meanwhile: what has no newline yet is not there.
type reader struct{ dir string }

func (r reader) page(numbers []int, after uint64, limit int) (p audit.Page, err error) {
	start := len(numbers)
	for i := len(numbers) - 1; i >= 0; i-- {
		first, last, err := r.span(numbers[i])
		switch {
		case errors.Is(err, os.ErrNotExist): // removed just now, as the oldest
			continue
		case err != nil:
			return p, err
		case first == 0:
			continue // it has no line yet
		}
		if p.First = first; p.Last == 0 {
			p.Last = last
		}
		if last > after {
			start = i
		}
	}
	for _, n := range numbers[start:] {
		if err := r.lines(n, &p, after, limit); err != nil {
			return p, err
		}
		if p.Next > 0 {
			break
		}
	}
	return p, nil
}

// span is the numbers of the first and the last line of a file.
func (r reader) span(number int) (first, last uint64, err error) {
	f, size, err := r.open(number)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	if size == 0 {
		return 0, 0, nil
	}
	line, err := bufio.NewReaderSize(f, audit.MaxLine).ReadSlice('\n')
	if err != nil {
		return 0, 0, r.damaged(number, err)
	}
	_, end, err := lineBefore(f, size-1)
	if err != nil {
		return 0, 0, r.damaged(number, err)
	}
	a, err := audit.ParseLine(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		return 0, 0, r.damaged(number, err)
	}
	b, err := audit.ParseLine(end)
	if err != nil {
		return 0, 0, r.damaged(number, err)
	}
	return a.Seq, b.Seq, nil
}

// open opens a file; size is up to its last newline.
func (r reader) open(number int) (f *os.File, size int64, err error) {
	if f, err = os.Open(filepath.Join(r.dir, fileName(number))); err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil {
		size, _, err = lineBefore(f, info.Size())
	}
	if err != nil {
		_ = f.Close() // the error says why
		return nil, 0, err
	}
	return f, size, nil
}

func (r reader) damaged(number int, err error) error {
	return fmt.Errorf("%s is damaged (raftctl audit verify says where): %w", fileName(number), err)
}

// lines appends the lines of a file that are behind number after.
func (r reader) lines(number int, p *audit.Page, after uint64, limit int) error {
	f, size, err := r.open(number)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	from := r.seek(f, size, after)
	in := bufio.NewReaderSize(io.NewSectionReader(f, from, size-from), audit.MaxLine)
	total := 0
	for _, l := range p.Lines {
		total += len(l)
	}
	for {
		raw, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return r.damaged(number, err)
		}
		raw = bytes.TrimSuffix(raw, []byte("\n"))
		line, err := audit.ParseLine(raw)
		if err != nil {
			return r.damaged(number, err)
		}
		if line.Seq <= after {
			continue
		}
		if len(p.Lines) >= limit || total+len(raw) > maxPage && len(p.Lines) > 0 {
			p.Next = line.Seq - 1
			return nil
		}
		p.Lines = append(p.Lines, bytes.Clone(raw))
		total += len(raw)
	}
}

// seek finds where a file's lines behind number after begin, or a place not far before: the numbers grow.
func (r reader) seek(f io.ReaderAt, size int64, after uint64) int64 {
	const step = audit.MaxLine
	blocks := int(size / step)
	block := sort.Search(blocks, func(i int) bool {
		_, raw, err := lineFrom(f, int64(i)*step, size)
		line, bad := audit.ParseLine(raw)
		return err != nil || bad != nil || line.Seq > after
	})
	if block == 0 {
		return 0
	}
	start, _, err := lineFrom(f, int64(block-1)*step, size)
	if err != nil {
		return 0
	}
	return start
}

// lineFrom returns the first line that begins behind a place, which is of any line.
func lineFrom(f io.ReaderAt, place, size int64) (start int64, raw []byte, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f, place, size-place), audit.MaxLine)
	begun, err := in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	raw, err = in.ReadSlice('\n')
	return place + int64(len(begun)), bytes.TrimSuffix(raw, []byte("\n")), err
}
