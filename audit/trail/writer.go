package trail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/folkmoot/folkmoot/audit"
)

// writer has the newest file. What it was given and is not on the disk for certain it keeps, so that after any failure
// the file is cut back to what is certain and the rest is written anew.
type writer struct {
	disk    disk
	dir     string
	maxFile int64

	chain   audit.Chain // of all that was given
	certain audit.Chain // of what is on the disk

	file    file  // nil: none is open
	number  int   // of the file; 0: there was none yet
	synced  int64 // bytes of the file that are on the disk
	tail    []byte
	written int   // of the tail, to the file
	broken  error // why nothing can be written now
}

// size is how long the file is once all is written.
func (w *writer) size() int64 { return w.synced + int64(len(w.tail)) }

// full reports whether the next line belongs into a new file.
func (w *writer) full() bool { return w.number == 0 || w.size() >= w.maxFile }

// add takes lines up to the end of the file, and about size bytes to be written at once, and returns how many; the
// caller looks at full before.
func (w *writer) add(coordinator string, events []audit.Event, size int) (n int) {
	for n < len(events) && (n == 0 || len(w.tail)-w.written < size && w.size() < w.maxFile) {
		w.tail = w.chain.Append(w.tail, coordinator, events[n])
		n++
	}
	return n
}

// write writes what was added.
func (w *writer) write() error {
	if w.written == len(w.tail) {
		return nil
	}
	n, err := w.file.Write(w.tail[w.written:])
	w.written += max(n, 0)
	return w.fail(err)
}

// sync makes what is written certain, and looks whether the file is still where it is looked for.
func (w *writer) sync() error {
	if w.file == nil {
		return nil
	}
	if err := w.inPlace(); err != nil {
		return w.fail(err)
	}
	if w.written == 0 {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return w.fail(err)
	}
	w.synced += int64(w.written)
	w.tail = append(w.tail[:0], w.tail[w.written:]...)
	w.written = 0
	if cap(w.tail) > maxBatch*2 {
		w.tail = nil
	}
	w.certain = w.chain // a tail that is left over was not written: see write
	return nil
}

// inPlace says whether the file was taken away or is another's by now.
func (w *writer) inPlace() error {
	open, err := w.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(w.path())
	if err != nil {
		return err
	}
	if !os.SameFile(open, there) || open.Size() != w.synced+int64(w.written) {
		return fmt.Errorf("%s is not the file that was written", w.path())
	}
	return nil
}

func (w *writer) path() string { return filepath.Join(w.dir, fileName(w.number)) }

func (w *writer) fail(err error) error {
	if err != nil {
		w.broken = err
	}
	return err
}

// next begins the next file, once the one before is on the disk, and removes the oldest.
func (w *writer) next() error {
	if err := w.sync(); err != nil {
		return err
	}
	if err := w.create(); err != nil {
		return w.fail(err)
	}
	return w.removeOldest()
}

// create begins a file behind all that there are.
func (w *writer) create() error {
	numbers, err := fileNumbers(w.dir)
	if err != nil {
		return err
	}
	number := w.number + 1
	if len(numbers) > 0 {
		number = max(number, numbers[len(numbers)-1]+1)
	}
	f, err := w.disk.Create(filepath.Join(w.dir, fileName(number)))
	if err != nil {
		return err
	}
	w.close()
	w.file, w.number, w.synced = f, number, 0
	return nil
}

// removeOldest keeps the newest files.
func (w *writer) removeOldest() error {
	numbers, err := fileNumbers(w.dir)
	if err != nil {
		return w.fail(err)
	}
	for _, n := range numbers[:max(0, len(numbers)-Keep)] {
		if err := os.Remove(filepath.Join(w.dir, fileName(n))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return w.fail(err)
		}
	}
	return nil
}

// mend writes anew what is not certain.
func (w *writer) mend() error {
	w.close()
	if err := os.MkdirAll(w.dir, dirMode); err != nil {
		return w.fail(err)
	}
	w.broken = nil
	if err := w.reopen(); err != nil {
		return w.fail(err)
	}
	w.written = 0
	if err := w.write(); err != nil {
		return err
	}
	return w.sync()
}

// reopen opens the newest file and cuts it back to what is certain; one that is gone or has something else is left, and
// a new one is begun: what is missing shows.
func (w *writer) reopen() error {
	if w.number == 0 {
		return nil
	}
	f, err := w.disk.Open(w.path())
	if err == nil {
		if err = w.cutBack(f); err == nil {
			w.file = f
			return nil
		}
		_ = f.Close() // the error says why
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errOther) {
		return err
	}
	return w.create()
}

var errOther = errors.New("it is not what was written")

// endsAsCertain reports whether the newest line that is on the disk for certain is still there.
func (w *writer) endsAsCertain() bool {
	if w.synced == 0 {
		return true
	}
	f, err := os.Open(w.path())
	if err != nil {
		return false
	}
	defer f.Close()
	_, last, err := lineBefore(f, w.synced-1)
	return err == nil && audit.HashLine(last) == w.certain.Hash
}

func (w *writer) cutBack(f file) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < w.synced || !w.endsAsCertain() {
		return errOther
	}
	return f.Truncate(w.synced)
}

func (w *writer) close() {
	if w.file != nil {
		_ = w.file.Close() // what counts is synced
		w.file = nil
	}
}
