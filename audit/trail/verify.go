package trail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/folkmoot/folkmoot/audit"
)

// NewestLine returns the newest line of the trail in a directory that can be read; the zero value is that there is none.
// Errors: the directory cannot be read.
func NewestLine(dir string) (audit.Line, error) {
	numbers, err := fileNumbers(dir)
	if err != nil {
		return audit.Line{}, err
	}
	r := reader{dir}
	for i := len(numbers) - 1; i >= 0; i-- {
		f, size, err := r.open(numbers[i])
		if err != nil {
			return audit.Line{}, err
		}
		var raw []byte
		if size > 0 {
			_, raw, err = lineBefore(f, size-1)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return audit.Line{}, err
		}
		if line, err := audit.ParseLine(raw); err == nil {
			return line, nil
		}
	}
	return audit.Line{}, nil
}

// tornAgain is how long Verify waits for the rest of a line that a coordinator is writing just now.
const tornAgain = 500 * time.Millisecond

// Verify reads the whole trail in a directory, which may be in use, and holds it to its chain and to the anchors of its
// coordinator, if there are any. Errors: an *audit.Fault, the first there is; or a file cannot be read.
func Verify(dir string, anchors []audit.Anchor) (audit.Trail, error) {
	found, err := verifyOnce(dir, anchors)
	var f *audit.Fault
	if errors.As(err, &f) && f.Kind == audit.Cut || errors.Is(err, os.ErrNotExist) {
		time.Sleep(tornAgain) // its writer may be at it: only what stays so counts
		found, err = verifyOnce(dir, anchors)
	}
	return found, err
}

func verifyOnce(dir string, anchors []audit.Anchor) (audit.Trail, error) {
	numbers, err := fileNumbers(dir)
	if err != nil {
		return audit.Trail{}, err
	}
	if err := complete(numbers); err != nil {
		return audit.Trail{}, err
	}
	v := audit.NewVerifier(anchors)
	var torn *audit.Fault
	for _, n := range numbers {
		if torn, err = verifyFile(dir, n, v); err != nil {
			break
		}
		if torn != nil && n != numbers[len(numbers)-1] {
			torn.Kind, torn.Why = audit.Changed, "it has no end, and there is another file behind it"
			break
		}
	}
	var f *audit.Fault
	if err != nil && !errors.As(err, &f) {
		return audit.Trail{}, err
	}
	found, err := v.End()
	switch {
	case err != nil:
		return found, err
	case found.First > 1 && numbers[0] == 1:
		return found, &audit.Fault{File: fileName(1), Kind: audit.Missing, Why: fmt.Sprintf("the trail begins with line number %d", found.First)}
	case torn != nil:
		return found, torn
	}
	return found, nil
}

// complete refuses a list of files in which one is missing: only the oldest are ever removed, and only beyond Keep.
func complete(numbers []int) error {
	if len(numbers) == 0 {
		return nil
	}
	gone := func(number int, format string, args ...any) error {
		return &audit.Fault{File: fileName(number), Kind: audit.Missing, Why: fmt.Sprintf(format, args...)}
	}
	for i, n := range numbers {
		if want := numbers[0] + i; n != want {
			return gone(want, "the file is not there")
		}
	}
	if numbers[0] > 1 && len(numbers) < Keep {
		return gone(numbers[0]-1, "the file is not there, though only %d are; the newest %d are kept", len(numbers), Keep)
	}
	return nil
}

// verifyFile hands the lines of a file to v. torn is a last line without an end.
func verifyFile(dir string, number int, v *audit.Verifier) (torn *audit.Fault, err error) {
	f, err := os.Open(filepath.Join(dir, fileName(number)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, audit.MaxLine+1)
	for n := 1; ; n++ {
		raw, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(raw) == 0:
			return nil, nil
		case errors.Is(err, io.EOF):
			return &audit.Fault{File: fileName(number), Line: n, Kind: audit.Cut, Why: "the line has no end: its writer was killed, or it was cut; a coordinator that starts here mends it"}, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, v.Line(fileName(number), n, nil)
		case err != nil:
			return nil, err
		}
		if err := v.Line(fileName(number), n, bytes.TrimSuffix(raw, []byte("\n"))); err != nil {
			return nil, err
		}
	}
}
