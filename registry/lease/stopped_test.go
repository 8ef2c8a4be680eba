package lease_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/registry/lease"
)

// shortLease is the lease of a session that beats in the stopped process below,
// which stands still for twice as long.
const shortLease = 4 * time.Second

// stoppedProcess is stopped while its keeper waits for a proposal.
func stoppedProcess() error {
	l := &log{}
	entered, release := make(chan struct{}), make(chan struct{})
	k := lease.New(lease.Config{Propose: func(ctx context.Context, s []registry.Fence, reason string) error {
		if s[0].FullName == "n1.laser" {
			close(entered)
			<-release
		}
		return l.propose(ctx, s, reason)
	}})
	go k.Run(context.Background())
	k.Grant(fence("laser", 1), time.Millisecond)
	<-entered
	k.Grant(fence("stage", 1), shortLease)
	began := time.Now()
	fmt.Println("ready")
	for time.Since(began) < 2*shortLease {
		time.Sleep(10 * time.Millisecond)
	}
	close(release)
	time.Sleep(shortLease / 4) // the keeper looks several times
	if got := l.gone(); !slices.Equal(got, []string{"n1.laser"}) {
		return fmt.Errorf("expired %v, want the laser only", got)
	}
	return nil
}

// A process that is stopped while it waits for a proposal could not hear
// heartbeats either: leases run on by that much.
func TestPauseDuringAProposalExtendsLeases(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LEASE_TEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if first, err := lines.ReadString('\n'); err != nil || first != "ready\n" {
		t.Fatalf("the process said %q, %v", first, err)
	}
	cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(2 * shortLease) // nothing tells when it has been stopped for long enough
	cmd.Process.Signal(syscall.SIGCONT)
	last, _ := lines.ReadString('\n')
	if err := cmd.Wait(); err != nil || strings.TrimSpace(last) != "well" {
		t.Errorf("after %s of standing still: %q, %v", 2*shortLease, last, err)
	}
}
