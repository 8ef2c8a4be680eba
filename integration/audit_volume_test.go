package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

// volume is a small disk that has nothing but the audit trail of a coordinator.
type volume struct {
	t      *testing.T
	keeper int    // the process in whose mount namespace it is
	audit  string // the directory of the trail, as it is called there
}

const setUpVolume = `set -eu
mkdir "$1"
mount -t tmpfs -o size=64k tmpfs "$1"
mkdir -m 700 "$1/audit"
echo ready
exec sleep 3600
`

func newVolume(t *testing.T) *volume {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "volume")
	return &volume{t, namespaces(t, setUpVolume, dir, "--mount"), filepath.Join(dir, "audit")}
}

// outside is what a path of the volume is called outside of its namespace.
func (v *volume) outside(path string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", v.keeper), path)
}

// fill leaves no room on the volume until free is called.
func (v *volume) fill() (free func()) {
	v.t.Helper()
	ballast := v.outside(filepath.Join(filepath.Dir(v.audit), "ballast"))
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		v.t.Fatalf("fill a volume of 64 KiB: %v", err)
	}
	return func() {
		v.t.Helper()
		if err := os.Remove(ballast); err != nil {
			v.t.Fatal(err)
		}
	}
}

// run runs a command where the volume is.
func (v *volume) run(args ...string) {
	v.t.Helper()
	args = append(entering(v.keeper, "--mount"), args...)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		v.t.Fatalf("%s: %v %s", strings.Join(args, " "), err, out)
	}
}

// readOnly lets nobody open a file of the trail for writing, root neither. Who has one open goes on.
func (v *volume) readOnly() {
	v.t.Helper()
	v.run("mount", "--bind", v.audit, v.audit)
	v.run("mount", "-o", "remount,bind,ro", v.audit)
}

// writable undoes readOnly.
func (v *volume) writable() {
	v.t.Helper()
	v.run("umount", "--lazy", v.audit)
}

// lines reads the trail.
func (v *volume) lines() (all []auditLine) {
	v.t.Helper()
	return auditLines(v.t, v.outside(v.audit))
}

// auditLine is what tests look at of a line of an audit trail.
type auditLine struct {
	Seq                         uint64
	What, Target, Outcome, Code string
}

// auditLines reads the first file of a trail, but for a line that is being written.
func auditLines(t *testing.T, dir string) (all []auditLine) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l auditLine
		if !strings.HasSuffix(line, "\n") {
			break
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, l)
	}
	return all
}

// A coordinator that has no room for its audit trail, or whose directory has become read-only, refuses what must not be
// done without a record and goes on with the rest, also if it is started anew meanwhile. As soon as it can write, it
// does all of it again, by itself; what was done meanwhile is in the trail, and that is whole. It does not start at all
// where the directory is read-only.
func TestAuditTrailThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	v := newVolume(t)
	c := newCluster(t, 1, "--audit-dir", v.audit)
	n1 := c.nodes[0]
	n1.wrap = entering(v.keeper, "--mount")
	n1.start()
	c.waitHealthy(1)

	free := v.fill()
	n1.recordsNothing("filled", "no space left on device")
	n1.kill()
	n1.start()
	c.waitHealthy(1)
	n1.recordsNothing("started", "no space left on device")
	free()
	n1.answersJobs(202, "")
	c.recorded(v, "started")

	v.readOnly()
	n1.answersJobs(202, "") // the file is open
	free = v.fill()
	n1.recordsNothing("locked", "read-only file system")
	free()
	before := n1.auditFailures()
	eventually(t, "two more attempts to write the trail", func(context.Context) error {
		if now := n1.auditFailures(); now < before+2 {
			return fmt.Errorf("%v failures, %v before", now, before)
		}
		return nil
	})
	n1.recordsNothing("roomy", "read-only file system")
	v.writable()
	n1.answersJobs(202, "")
	c.recorded(v, "locked", "roomy")

	n1.stop()
	refused := 0
	for _, l := range v.lines() {
		if l.What == "POST /v1/jobs" && l.Outcome == "not_tried" && l.Code == "unavailable" {
			refused++
		}
	}
	if refused == 0 {
		t.Errorf("that jobs were refused is not in the trail: %+v", v.lines())
	}
	v.readOnly()
	n1.log = &logFile{}
	n1.refuses("--audit-dir", v.audit, "read-only file system")
	v.writable()
	n1.start()
	c.waitHealthy(1)
	n1.answersJobs(202, "")
	c.recorded(v)
}

// answersJobs waits until a job that is handed in gets an answer with that status and those words.
func (p *process) answersJobs(status int, words string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("a job is answered %d %s", status, words), func(context.Context) error {
		a, err := p.tryAsk("POST", "/v1/jobs", `{"runtime":"sh","script":"true","items":[1]}`)
		if err == nil && (a.status != status || !strings.Contains(a.body, words)) {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
}

// auditFailures is how often the coordinator could not write its trail.
func (p *process) auditFailures() float64 {
	p.t.Helper()
	n, err := p.metric(p.t.Context(), "folkmoot_audit_failures_total")
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// recordsNothing waits until the trail cannot be written, for that reason, and looks at what is refused then and what
// goes on. A component of that name signs in and out meanwhile.
func (p *process) recordsNothing(name, why string) {
	p.t.Helper()
	p.answersJobs(503, why)
	in, _, err := p.api().SignIn(p.t.Context(), wire.SignIn{Name: name, Lease: wire.Duration(10 * time.Minute)}, "")
	if err != nil {
		p.t.Fatalf("%s: sign in: %v", why, err)
	}
	own := "/v1/components/" + in.FullName
	for _, c := range []struct {
		method, path, body, secret string
		status                     int
	}{
		{"POST", "/v1/jobs", `{"runtime":"sh","script":"true","items":[1]}`, "", 503},
		{"POST", "/v1/tokens", `{"grants":["read"]}`, "", 503},
		{"GET", "/v1/tokens", "", "", 503},
		{"POST", "/v1/leader/transfer", "", "", 503},
		{"DELETE", own, "", "", 503}, // of another's session
		{"GET", "/v1/components", "", "", 200},
		{"GET", "/v1/audit", "", "", 200},
		{"GET", "/v1/audit/anchors", "", "", 200},
		{"PUT", own + "/heartbeat", "", in.Secret, 200},
		{"POST", "/v1/messages", `{"to":"` + in.FullName + `","payload":["aGVsbG8="]}`, in.Secret, 200},
		{"DELETE", own, "", in.Secret, 200},
	} {
		var headers []string
		if c.secret != "" {
			headers = []string{"X-Session", c.secret}
		}
		a := p.ask(c.method, c.path, c.body, headers...)
		if a.status != c.status || c.status == 503 && !(strings.Contains(a.body, `"code":"unavailable"`) && strings.Contains(a.body, why)) {
			p.t.Errorf("%s: %s %s: %d %s, want %d", why, c.method, c.path, a.status, a.body, c.status)
		}
	}
	if p.auditFailures() == 0 {
		p.t.Errorf("%s: the failures are not counted", why)
	}
}

// recorded checks that the trail of the only coordinator is whole, and that components of these names signed in and out
// by it.
func (c *cluster) recorded(v *volume, names ...string) {
	c.t.Helper()
	if out, errs, code := c.raftctl("audit", "verify", v.outside(v.audit)); code != 0 {
		c.t.Errorf("audit verify: exit %d\n%s%s", code, out, errs)
	}
	all := v.lines()
	for _, name := range names {
		for _, what := range []string{"POST /v1/components", "DELETE /v1/components/:full"} {
			found := 0
			for _, l := range all {
				if l.What == what && l.Target == "n1."+name && l.Outcome == "done" {
					found++
				}
			}
			if found != 1 {
				c.t.Errorf("%d lines of %s of %s in %+v", found, what, name, all)
			}
		}
	}
	for _, l := range all {
		if l.What == "record events" {
			c.t.Errorf("lines are lost: %+v", l)
		}
	}
}
