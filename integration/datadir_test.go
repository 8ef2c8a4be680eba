package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/wire"
)

// refuses starts a coordinator that must end by itself, soon and not with 0,
// and say why.
func (p *process) refuses(words ...string) {
	p.t.Helper()
	p.start()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatalf("%s still runs:\n%s", p.name, p.tail())
	}
	if code := p.cmd.ProcessState.ExitCode(); code <= 0 || code == 66 {
		p.t.Errorf("%s ended with %d", p.name, code)
	}
	for _, w := range words {
		if !strings.Contains(p.log.String(), w) {
			p.t.Errorf("%s does not name %q:\n%s", p.name, w, p.tail())
		}
	}
}

// A data directory that cannot be ours ends the start with its name.
func TestDataDirectoryThatCannotBe(t *testing.T) {
	t.Parallel()
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 6)
	owner := c.prepare("n1", free[0], free[1], free[2])
	at := func(id, dir string) *process {
		p := c.prepare(id, free[3], free[4], free[5])
		c.leave(p)
		p.args = append(without(p.args, "--data-dir"), "--data-dir", dir)
		p.log = &logFile{}
		return p
	}
	file := filepath.Join(c.dir, "a file")
	touch(t, c.dir, "a file")
	at("n1", file).refuses(file)
	at("n1", filepath.Join(file, "below")).refuses(file)
	at("n1", "/proc/folkmoot").refuses("/proc/folkmoot")
	dangling := filepath.Join(c.dir, "dangling")
	if err := os.Symlink(filepath.Join(c.dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	at("n1", dangling).refuses(dangling)

	owner.start()
	c.waitHealthy(1)
	in := c.signIn(owner, "laser", 10*time.Minute)
	at("n1", owner.data).refuses("in use", owner.data)
	owner.kill()
	at("n2", owner.data).refuses(owner.data, `"n1"`, `"n2"`)

	// Pieces of a directory are none.
	for _, piece := range []string{"local.db", "raft.db"} {
		copied := filepath.Join(c.dir, "without "+piece)
		copyDir(t, owner.data, copied)
		if err := os.Remove(filepath.Join(copied, piece)); err != nil {
			t.Fatal(err)
		}
		at("n1", copied).refuses(filepath.Join(copied, piece))
	}
	mixed := filepath.Join(c.dir, "mixed")
	other := at("n1", filepath.Join(c.dir, "other"))
	other.start()
	eventually(t, "the other n1", func(ctx ctx) error {
		_, _, err := other.api().Leader(ctx)
		return err
	})
	other.kill()
	copyDir(t, owner.data, mixed)
	if err := os.Rename(filepath.Join(c.dir, "other", "raft.db"), filepath.Join(mixed, "raft.db")); err != nil {
		t.Fatal(err)
	}
	at("n1", mixed).refuses(filepath.Join(mixed, "raft.db"))

	owner.start()
	c.waitHealthy(1)
	c.has(in.FullName, "n1")
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
}

// A coordinator of one cluster that is told to join another one, with the disk
// that it has, goes back to its own and disturbs nobody.
func TestDataDirectoryOfAnotherCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, steadyLeader...)
	lonely := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	stray := lonely.prepare("stray", free[0], free[1], free[2])
	stray.start()
	lonely.waitHealthy(1)
	in := lonely.signIn(stray, "laser", 10*time.Minute)
	before := c.terms()
	stray.stop()
	stray.args = append(stray.args, "--join", c.nodes[0].peer+","+c.nodes[1].peer)
	stray.start()
	lonely.waitHealthy(1)
	lonely.has(in.FullName, "stray")
	c.ctl(1, "members", "add", stray.peer)
	if after := c.terms(); after != before {
		t.Errorf("the stray coordinator disturbed: %s became %s", before, after)
	}
	for _, p := range c.nodes {
		m, _, err := p.api().Members(t.Context(), client.Read{})
		if err != nil || len(m.Members) != 3 {
			t.Errorf("%s sees %d members, %v", p.name, len(m.Members), err)
		}
	}
	c.agree()
}

// A data directory that was copied and started elsewhere while its owner runs: the
// older process ends soon with a status of its own and names both, the two do not
// fill the log, and a supervisor that starts the older again changes nothing until
// the newer is gone.
func TestACopiedDataDirectoryStartedElsewhere(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	n1 := c.nodes[0]
	n1.stop()
	twin := c.prepare("n1", ports(t, 1)[0], ports(t, 1)[0], ports(t, 1)[0])
	c.leave(twin)
	twin.data = filepath.Join(c.dir, "copy")
	twin.args = append(without(twin.args, "--data-dir"), "--data-dir", twin.data)
	copyDir(t, n1.data, twin.data)
	n1.start()
	c.waitHealthy(3)
	// The leader is the one that has most to lose.
	if c.leader() != n1 {
		c.ctl(0, "leader", "transfer", "--to", "n1")
	}
	eventually(t, "n1 to lead", func(ctx) error {
		if l := c.leader(); l != n1 {
			return fmt.Errorf("%s leads", l.name)
		}
		return nil
	})
	lastIndex := func() uint64 {
		st, _, err := c.nodes[1].api().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.LastIndex
	}
	before := lastIndex()

	twin.start()
	ended := func(when string) {
		t.Helper()
		if code := n1.wait(); code != 4 {
			t.Fatalf("%s the older ended with %d, want 4\n%s", when, code, n1.tail())
		}
		if said := n1.log.String(); !strings.Contains(said, "two processes run as the server") || !strings.Contains(said, n1.peer) || !strings.Contains(said, twin.peer) {
			t.Errorf("%s the older does not name both, %s and %s:\n%s", when, n1.peer, twin.peer, n1.tail())
		}
	}
	ended("told by the others")
	c.nodes[0] = twin
	c.waitHealthy(3)
	n1.log = &logFile{}
	n1.start()
	ended("started again")
	c.waitHealthy(3)
	if grown := lastIndex() - before; grown > 25 {
		t.Errorf("the log grew by %d entries meanwhile, want hardly any", grown)
	}

	twin.stop()
	n1.start()
	c.nodes[0] = n1
	c.waitHealthy(3)
	c.agree()
}

// A bit that flipped on the disk is either of no consequence, and then the
// state is what it was, or the start ends soon with the name of the file. It
// is never a panic, a hang or another state.
func TestStormFlippedBits(t *testing.T) {
	storm.Only(t)
	t.Parallel()
	c := &cluster{t: t, dir: t.TempDir()}
	free := ports(t, 3)
	p := c.prepare("n1", free[0], free[1], free[2], "--snapshot-threshold", "40", "--snapshot-interval", "100ms", "--trailing-logs", "10")
	p.start()
	c.waitHealthy(1)
	for i := range 150 {
		in, _, err := p.api().SignIn(t.Context(), wire.SignIn{Name: fmt.Sprintf("c%d", i), Lease: wire.Duration(10 * time.Minute), Labels: map[string]string{"n": fmt.Sprint(i)}}, "")
		if err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if _, err := p.api().SignOut(t.Context(), in.FullName, in.Secret); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.submit(p, wire.SubmitJob{ID: "waits", Runtime: "sh", Script: "echo 1", Items: numbers(5)})
	eventually(t, "a snapshot", func(ctx ctx) error {
		st, _, err := p.api().Status(ctx)
		if err == nil && st.LastSnapshot == 0 {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	stopped := c.agree().Digest
	p.stop()
	sound := filepath.Join(c.dir, "sound")
	if err := os.Rename(p.data, sound); err != nil {
		t.Fatal(err)
	}
	// The election after a start is written down, in the state, too.
	copyDir(t, sound, p.data)
	p.start()
	want := stopped
	eventually(t, "its election is written down", func(ctx ctx) error {
		d, _, err := p.api().Digest(ctx, 0)
		if want = d.Digest; err == nil && want == stopped {
			err = fmt.Errorf("the state is as before")
		}
		return err
	})
	p.kill()
	p.log = &logFile{}

	outcomes := map[string]int{}
	for seed := range uint64(40) {
		if err := os.RemoveAll(p.data); err != nil {
			t.Fatal(err)
		}
		copyDir(t, sound, p.data)
		file, at := flip(t, p.data, seed)
		outcome := p.afterDamage(want, file)
		outcomes[filepath.Base(file)+" "+outcome]++
		if t.Failed() {
			t.Fatalf("seed %d: bit %d of %s: %s\n%s", seed, at, file, outcome, p.tail())
		}
		p.log = &logFile{}
	}
	t.Logf("%v", outcomes)
}

// flip turns one bit of one file of a data directory over, and tells which.
func flip(t *testing.T, dir string, seed uint64) (file string, bit int64) {
	t.Helper()
	files := map[string][]string{} // by name: there are several snapshots
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				files[d.Name()] = append(files[d.Name()], path)
			}
		}
		return err
	})
	names := []string{"raft.db", "local.db", "raft.db", "state.bin", "meta.json", "raft.db", "local.db", "meta.crc32c"}
	dice := rand.New(rand.NewPCG(seed, 20261122))
	alike := files[names[seed%uint64(len(names))]]
	if err != nil || len(alike) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	file = alike[dice.IntN(len(alike))]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Most of a bbolt file is empty pages: rather hit something.
	for {
		bit = dice.Int64N(int64(len(text)) * 8)
		around := text[max(0, bit/8-8):min(int64(len(text)), bit/8+8)]
		if len(bytes.Trim(around, "\x00")) > 0 {
			break
		}
	}
	text[bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, bit
}

// afterDamage starts a coordinator on a damaged disk and tells how it took it.
func (p *process) afterDamage(want, file string) (outcome string) {
	t := p.t
	t.Helper()
	p.start()
	defer p.kill()
	api := p.api()
	late := time.After(30 * time.Second)
	got := ""
	for {
		select {
		case <-p.done:
			text := p.log.String()
			code := p.cmd.ProcessState.ExitCode()
			if code <= 0 || code == 66 || strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
				t.Errorf("it ended with %d", code)
			}
			if !strings.Contains(text, file) && !strings.Contains(text, filepath.Dir(file)) {
				t.Errorf("it ended without naming %s", file)
			}
			return "refused"
		case <-late:
			t.Errorf("it neither ends nor has the fingerprint %s, but %q", want, got)
			return "hangs"
		case <-time.After(20 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		st, _, err := api.Status(ctx)
		cancel()
		if err != nil || !st.Ready {
			continue
		}
		ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
		d, _, err := api.Digest(ctx, 0)
		cancel()
		if err != nil {
			t.Errorf("it is ready, but: %v", err)
		} else if got = d.Digest; got != want {
			continue // until its election is written down
		}
		return "harmless"
	}
}
