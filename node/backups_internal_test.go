package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/backup"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/snapfile"
)

// A new leader goes on where the one before it was, whatever its clock says.
func TestWhenABackupIsDue(t *testing.T) {
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ age, want time.Duration }{
		{0, time.Hour},
		{20 * time.Minute, 40 * time.Minute},
		{time.Hour, 0},
		{48 * time.Hour, 0},
		{-30 * time.Hour, time.Hour}, // made by a clock that was ahead
	} {
		if got := untilBackup(now.Add(-c.age), now, time.Hour); got != c.want {
			t.Errorf("the newest is %v old: due in %v, want %v", c.age, got, c.want)
		}
	}
}

// slowDisk is a directory on a disk that answers when the test says so.
type slowDisk struct {
	begun   chan struct{} // has an element for each Save that has begun
	release chan struct{} // lets one end
}

func (d *slowDisk) Newest(string) (time.Time, bool, error) { return time.Time{}, false, nil }

func (d *slowDisk) Save(write func(io.Writer) error) (backup.Saved, error) {
	d.begun <- struct{}{}
	<-d.release
	if err := write(io.Discard); err != nil {
		return backup.Saved{}, err
	}
	return backup.Saved{Path: "made", Content: backup.Content{Header: snapfile.Header{Created: time.Now()}, Bytes: 1001}}, nil
}

// A disk that hangs holds up neither the end of a leadership, nor that of the process for longer than its time, nor the
// tasks of the next leadership; and only one file is written at a time.
func TestADiskThatHangsHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fsm.New()
		line, err := fsm.Encode(fsm.KindFound, time.Now(), fsm.Author{By: "n1"}, fsm.Found{Cluster: "c1", Level: 2})
		if err != nil {
			t.Fatal(err)
		}
		m.Apply(1, [][]byte{line})
		disk := &slowDisk{begun: make(chan struct{}, 10), release: make(chan struct{})}
		var log bytes.Buffer
		b := newBackups(disk, "/backup", time.Hour, 1000, "n1", m.View, slog.New(slog.NewTextHandler(&log, nil)))
		begun := func(want int) {
			t.Helper()
			synctest.Wait()
			if got := len(disk.begun); got != want {
				t.Fatalf("%d snapshots were begun, want %d", got, want)
			}
		}
		lead := func() (end func()) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- b.whileLeading(ctx) }()
			return func() {
				t.Helper()
				cancel()
				synctest.Wait()
				select {
				case err := <-ended:
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				default:
					t.Fatal("the task of the leader goes on after its leadership")
				}
			}
		}

		end := lead()
		begun(1)
		end()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "/backup") {
			t.Errorf("closed with %v while the disk hangs", err)
		}

		end = lead()
		time.Sleep(90 * time.Minute)
		begun(1)
		if !strings.Contains(log.String(), "does not answer") {
			t.Errorf("nobody is told that the disk hangs: %s", log.String())
		}
		disk.release <- struct{}{} // what the first leadership wanted, which is over
		begun(2)
		if b.last.Load() != 0 {
			t.Error("what was given up counts as made")
		}
		disk.release <- struct{}{}
		synctest.Wait()
		if b.last.Load() != time.Now().Unix() {
			t.Errorf("the newest was made at %d: %s", b.last.Load(), log.String())
		}
		if !strings.Contains(log.String(), "larger than what is restored") {
			t.Errorf("nobody is told that it cannot be restored: %s", log.String())
		}
		time.Sleep(time.Hour)
		begun(3)
		end()
		disk.release <- struct{}{}
		if err := b.close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
