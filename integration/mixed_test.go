package integration_test

import (
	"archive/tar"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/integration/storm"
	"github.com/folkmoot/folkmoot/wire"
)

// olderBuild is a tag or commit of this repository whose coordinators run together
// with today's, until the level is raised: the newest release that knows a level less.
//
// This one is the last commit that knows level 1 alone, beside which no level can be
// raised. The oldest that can be mixed is 296647343ad7: it gave a sign-out the field
// "final" within level 1, which a coordinator of before does not take (-older shows both).
var olderBuild = flag.String("older", "8471f5bf95e4", "the build that today's is mixed with")

// buildOlder builds the coordinator of olderBuild, or skips the test where the history
// of the repository is not there.
func buildOlder(t *testing.T) (dir string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("the older coordinator cannot be built: there is no git")
	}
	if out, err := exec.Command("git", "cat-file", "-e", *olderBuild+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("the older coordinator cannot be built, since commit %s is not in this clone (git fetch --unshallow): %v %s", *olderBuild, err, out)
	}
	src, dir := t.TempDir(), t.TempDir()
	archive := exec.Command("git", "archive", "--format=tar", *olderBuild)
	archive.Dir = ".."
	sources, err := archive.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unpack(sources, src), archive.Wait()); err != nil {
		t.Fatalf("the sources of %s: %v", *olderBuild, err)
	}
	build := exec.Command("go", "build", "-o", dir, "./cmd/coordinator")
	build.Dir, build.Env = src, append(os.Environ(), "GOPROXY=off", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the coordinator of %s: %v\n%s", *olderBuild, err, out)
	}
	return dir
}

// unpack writes the regular files of a tar below a directory.
func unpack(from io.Reader, to string) error {
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, from) // the padding behind the end
			return err
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name, err := filepath.Localize(h.Name)
		if err != nil {
			return err
		}
		name = filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		out, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}

// replace ends one coordinator as an upgrade does and starts another build of it.
func (c *cluster) replace(p *process, build string, w *writer) {
	c.t.Helper()
	p.stop()
	w.more() // the others go on
	p.build = build
	p.start()
	c.waitHealthy(len(c.nodes))
	w.more()
	c.exercise(p, len(w.written()))
}

// exercise has a coordinator write what a writer does not: a sign-out, and a job with its parts.
func (c *cluster) exercise(p *process, n int) {
	c.t.Helper()
	in := c.signIn(p, fmt.Sprint("passing", n), time.Minute)
	if _, err := p.api().SignOut(c.t.Context(), in.FullName, in.Secret); err != nil {
		c.t.Errorf("sign %s out at %s: %v", in.FullName, p.name, err)
	}
	job := c.submit(p, wire.SubmitJob{ID: fmt.Sprint("job", n), Runtime: "sh", Script: "echo 1", Items: numbers(2)})
	c.ended(job.ID, "done")
}

// Coordinators of the release before and of today are one cluster under a client that
// writes: one after the other is replaced, forth, back and forth, the leader too, and
// nothing is lost that the client was told is in. While one of before is a member no
// level is raised; after it is raised, none of before comes back.
func TestStormTwoReleasesInOneCluster(t *testing.T) {
	storm.Only(t)
	older := buildOlder(t)
	c := newCluster(t, 3, steadyLeader...)
	for _, p := range c.nodes {
		p.build = older
		p.start()
	}
	c.waitHealthy(3)
	c.worker("worker", 2, c.nodes...)
	w := c.countWrites()
	w.more()

	refused := func(at *process) {
		t.Helper()
		if said := c.ctl(1, "level", "raise", "--addr", at.http); !strings.Contains(said, "knows level 1 only") && !strings.Contains(said, "has not said yet which level it knows") {
			t.Errorf("raising the level beside a coordinator that does not know it says %q", said)
		}
	}
	first := c.leader() // is replaced first, and last on the way back
	all := append([]*process{first}, c.others(first)...)
	for i, p := range all {
		c.replace(p, "", w)
		if i < len(all)-1 {
			refused(p)
		}
	}
	for _, p := range slices.Backward(all) {
		c.replace(p, older, w)
	}
	for _, p := range all {
		c.replace(p, "", w)
	}
	eventually(t, "all to say that they know level 2", func(ctx ctx) error {
		is, _, err := c.api().Level(ctx, client.Read{})
		if err == nil && is.Known < 2 {
			err = fmt.Errorf("they know %d", is.Known)
		}
		return err
	})
	c.ctl(0, "level", "raise")
	w.finish()
	c.agree()
	if is, _, err := c.api().Level(t.Context(), client.Read{}); err != nil || is.Level != 2 {
		t.Errorf("the level is %+v, %v", is, err)
	}

	late := all[0]
	late.stop()
	late.build = older
	late.start()
	if code := late.wait(); code != 3 || !strings.Contains(late.log.String(), "level") {
		t.Errorf("the build of before, at a level that it does not know, ended with %d\n%s", code, late.tail())
	}
	late.build = ""
	late.start()
	c.waitHealthy(3)
	if lost := w.lost(); len(lost) > 0 {
		t.Errorf("lost afterwards: %q", lost)
	}
	c.agree()
}
