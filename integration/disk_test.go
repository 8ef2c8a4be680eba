package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// volumes are small file systems in memory, one for each coordinator, which last as long as the test. They are in a mount
// namespace of their own, of which root is the path from outside.
type volumes struct {
	*cluster
	root  string
	jobs  []string // that were taken in, and not forgotten
	tries int      // jobs that were to be refused
}

// volumeSize is that of each of them: it is low, full and critical below 9.6, 5.1 and 2.6 MiB, and its reserve 6.4.
const volumeSize = 64 << 20

// onVolumes starts three coordinators with a volume each, or skips the test where none can be made.
func onVolumes(t *testing.T) *volumes {
	t.Helper()
	c := newCluster(t, 3, append([]string{"--disk-low", "15%", "--disk-full", "8%", "--disk-critical", "4%"}, steadyLeader...)...)
	mount := `for d; do mount -t tmpfs -o size=` + fmt.Sprint(volumeSize) + ` tmpfs "$d" || exit 1; done; echo ready; exec sleep 3600`
	args := []string{"--mount", "sh", "-c", mount, "sh"}
	for _, p := range c.nodes {
		dir := filepath.Join(c.dir, "volume-"+p.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		args = append(args, dir)
		at := slices.Index(p.args, p.data)
		p.data = filepath.Join(dir, "data")
		p.args[at] = p.data
	}
	keeper := exec.Command("unshare", args...)
	keeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var wrong bytes.Buffer
	keeper.Stderr = &wrong
	out, err := keeper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Skipf("volumes cannot be made here: %v", err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		_ = keeper.Wait()
		t.Skipf("volumes cannot be made here: %s", wrong.String())
	}
	t.Cleanup(func() {
		for _, p := range c.nodes {
			p.kill()
		}
		_ = keeper.Process.Kill()
		_ = keeper.Wait()
	})
	for _, p := range c.nodes {
		p.wrap = []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", keeper.Process.Pid), "--"}
		p.start()
	}
	c.waitHealthy(3)
	return &volumes{cluster: c, root: fmt.Sprintf("/proc/%d/root", keeper.Process.Pid)}
}

// path is that of a file in a coordinator's data directory, or beside it, from outside.
func (v *volumes) path(p *process, name ...string) string {
	return filepath.Join(append([]string{v.root, p.data}, name...)...)
}

const filler = "../filler"

// fill has a file beside the data directory take so much that only so many MiB are left, if there are more.
func (v *volumes) fill(p *process, left float64) {
	v.t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(v.path(p), &s); err != nil {
		v.t.Fatal(err)
	}
	take := int64(s.Bavail)*s.Bsize - int64(left*(1<<20))
	if take <= 0 {
		return
	}
	f, err := os.OpenFile(v.path(p, filler), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	_, err = f.Write(make([]byte, take))
	if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, syscall.ENOSPC) {
		v.t.Fatal(err)
	}
}

// free takes the file away.
func (v *volumes) free(p *process) {
	v.t.Helper()
	if err := os.Remove(v.path(p, filler)); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.t.Fatal(err)
	}
}

// is waits until a coordinator says of its volume that it is in a state, all others say it, and the metric.
func (v *volumes) is(p *process, state string) {
	v.t.Helper()
	eventually(v.t, fmt.Sprintf("the volume of %s to be %s", p.name, state), func(ctx context.Context) error {
		st, _, err := p.api().Status(ctx)
		if err != nil || st.Disk == nil || st.Disk.State != state || st.Disk.Low != (state != wire.DiskOK) {
			return fmt.Errorf("it says %+v, %w", st.Disk, err)
		}
		for _, other := range v.nodes {
			all, _, err := other.api().Members(ctx, client.Read{Consistency: "stale"})
			if err != nil {
				return err
			}
			i := slices.IndexFunc(all.Members, func(m wire.Member) bool { return m.ID == p.name })
			if i < 0 || all.Members[i].Disk == nil || all.Members[i].Disk.State != state {
				return fmt.Errorf("%s does not know that", other.name)
			}
		}
		if told := p.figures(); !strings.Contains(told, `folkmoot_disk_state{state="`+state+`"} 1`) {
			return fmt.Errorf("no metric says so: %s", told)
		}
		return nil
	})
}

// submitAt hands a job in at one coordinator, once.
func submitAt(p *process, id string) (answer, error) {
	return p.tryAsk("POST", "/v1/jobs", fmt.Sprintf(`{"id":%q,"runtime":"sh","script":"true","range":{"to":3}}`, id))
}

// write hands a job in at each coordinator, or at those that are named, until that is taken in.
func (v *volumes) write(phase string, at ...*process) {
	v.t.Helper()
	if len(at) == 0 {
		at = v.nodes
	}
	for _, p := range at {
		id := phase + "-" + p.name
		eventually(v.t, "a job to be taken in by "+p.name, func(context.Context) error {
			a, err := submitAt(p, id)
			if err == nil && a.status/100 != 2 {
				err = fmt.Errorf("%d %s", a.status, a.body)
			}
			return err
		})
		v.jobs = append(v.jobs, id)
	}
}

// refuses waits until a coordinator takes in nothing that makes the state grow, since the volume of the leader is full.
func (v *volumes) refuses(p, leader *process) {
	v.t.Helper()
	want := "disk full: the volume of coordinator " + leader.name
	eventually(v.t, p.name+" to refuse a job", func(context.Context) error {
		v.tries++
		id := fmt.Sprint("refused-", v.tries) // another each time: a repeat of what was taken in is answered
		a, err := submitAt(p, id)
		if err != nil {
			return err
		}
		if a.status/100 == 2 { // it did not know yet
			v.jobs = append(v.jobs, id)
			return errors.New("it was taken in")
		}
		var why wire.Problem
		if err := json.Unmarshal([]byte(a.body), &why); err != nil || a.status != 503 || why.Code != wire.CodeUnavailable || !strings.Contains(a.body, want) || a.header.Get("Retry-After") == "" {
			return fmt.Errorf("%d %s %v", a.status, a.body, err)
		}
		return nil
	})
	if a := p.ask("POST", "/v1/components", `{"name":"late"}`); a.status != 503 || !strings.Contains(a.body, want) {
		v.t.Errorf("a sign-in at %s: %d %s", p.name, a.status, a.body)
	}
}

// reserve waits until a data directory has its reserve, or has it no more.
func (v *volumes) reserve(p *process, there bool) {
	v.t.Helper()
	eventually(v.t, fmt.Sprintf("the reserve of %s to be there: %v", p.name, there), func(context.Context) error {
		info, err := os.Stat(v.path(p, "reserve"))
		if there && err == nil && info.Size() != volumeSize/10 {
			err = fmt.Errorf("it has %d bytes", info.Size())
		} else if !there && err == nil {
			return errors.New("it is there")
		} else if !there && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}

// A volume that fills up: its coordinator warns, hands leadership over, and all goes on; when all are full what makes the
// state grow is refused, and goes on by itself once there is room; a coordinator whose volume has hardly any space left
// ends with status 6, as often as it is started, and comes back with everything when there is room. Nothing that was
// acknowledged is lost.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	v := onVolumes(t)
	for _, p := range v.nodes {
		v.is(p, wire.DiskOK)
		v.reserve(p, true)
	}
	laser := v.signIn(v.nodes[0], "laser", time.Hour)
	first := v.leader()
	v.write("ok")

	v.fill(first, 8)
	v.is(first, wire.DiskLow)
	v.write("low")
	if v.leader() != first {
		t.Error("leadership went away from a volume that is only low")
	}

	v.fill(first, 4)
	v.is(first, wire.DiskFull)
	v.reserve(first, false)
	eventually(t, "another coordinator to lead", func(context.Context) error {
		if v.leader() == first {
			return errors.New("it still leads")
		}
		return nil
	})
	v.write("full")

	for _, p := range v.others(first) {
		v.fill(p, 4)
		v.is(p, wire.DiskFull)
	}
	last := v.leader()
	for _, p := range v.nodes {
		v.refuses(p, last)
	}
	v.goesOn(laser)
	v.saves()
	for _, p := range v.nodes {
		v.refuses(p, last)
	}
	if now := v.leader(); now != last {
		t.Errorf("all are full, and leadership went from %s to %s", last.name, now.name)
	}

	for _, p := range v.nodes {
		v.free(p)
	}
	for _, p := range v.nodes {
		v.is(p, wire.DiskOK)
		v.reserve(p, true)
	}
	v.write("freed")

	v.endsWith6(v.leader())
	v.waitHealthy(3)
	v.write("back")
	v.saves()
	v.hasAll()
	v.agree()
}

// goesOn does what goes on while all are full.
func (v *volumes) goesOn(in wire.SignedIn) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), patience)
	defer cancel()
	api := v.api()
	if _, _, err := api.Heartbeat(ctx, in.FullName, in.Secret); err != nil {
		v.t.Errorf("a heartbeat while all are full: %v", err)
	}
	id := v.jobs[0]
	if _, _, err := api.CancelJob(ctx, id, ""); err != nil {
		v.t.Errorf("cancel while all are full: %v", err)
	}
	if _, _, err := api.ForgetJob(ctx, id); err != nil {
		v.t.Errorf("forget while all are full: %v", err)
	}
	v.jobs = v.jobs[1:]
}

// saves saves the state and verifies the file.
func (v *volumes) saves() {
	v.t.Helper()
	file := filepath.Join(v.t.TempDir(), "state.snap.gz")
	v.ctl(0, "snapshot", "save", file)
	v.ctl(0, "snapshot", "verify", file)
}

// endsWith6 fills the volume of the leader until it ends, starts it in vain, and starts it when there is room.
func (v *volumes) endsWith6(p *process) {
	v.t.Helper()
	eventually(v.t, p.name+" to end", func(context.Context) error {
		if p.running() {
			v.fill(p, 1) // again: its reserve was given free
			return errors.New("it runs")
		}
		return nil
	})
	if code := p.wait(); code != 6 {
		v.t.Errorf("%s ended with %d, want 6\n%s", p.name, code, p.tail())
	}
	v.fill(p, 1)
	before, err := os.ReadFile(v.path(p, "local.db"))
	if err != nil {
		v.t.Fatal(err)
	}
	p.start()
	if code := p.wait(); code != 6 {
		v.t.Errorf("started on a full volume %s ended with %d, want 6\n%s", p.name, code, p.tail())
	}
	if after, err := os.ReadFile(v.path(p, "local.db")); err != nil || !bytes.Equal(before, after) {
		v.t.Errorf("that start wrote to the data directory (%v)", err)
	}
	p.done = nil // it is not there, and not missed
	v.write("without", v.others(p)...)
	v.free(p)
	p.start()
}

// hasAll checks that every coordinator has every job that was taken in.
func (v *volumes) hasAll() {
	v.t.Helper()
	for _, p := range v.nodes {
		for _, id := range v.jobs {
			if _, _, err := p.api().Job(v.t.Context(), id, client.Read{Consistency: "strict"}); err != nil {
				v.t.Errorf("%s: job %s, which was taken in: %v", p.name, id, err)
			}
		}
	}
}
