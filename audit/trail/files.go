package trail

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/folkmoot/folkmoot/wire/durable"
)

// suffix is that of the files of a trail, behind a number of six digits or more.
const suffix = ".jsonl"

func fileName(number int) string { return fmt.Sprintf("%06d%s", number, suffix) }

// numberOf is the number of a file of a trail; false: the name is none of one.
func numberOf(name string) (int, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && fileName(n) == name
}

// fileNumbers lists the files of a trail by their numbers, oldest first.
func fileNumbers(dir string) (numbers []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if n, ok := numberOf(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// file is what the writer needs of a file that it appends to; *os.File is one.
type file interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
	Close() error
}

// disk opens files for writing; tests have ones that fail.
type disk interface {
	// Create makes the file and fails if there is one.
	Create(path string) (file, error)
	Open(path string) (file, error)
}

// system is the disk of the machine.
type system struct{}

const (
	dirMode  = 0o700
	fileMode = 0o600
)

func (system) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		_ = f.Close()
		_ = os.Remove(path) // it may be made again
		return nil, err
	}
	return f, nil
}

func (system) Open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}
