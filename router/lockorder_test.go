package router_test

import (
	"os/exec"
	"testing"

	"github.com/folkmoot/folkmoot/router/lockorder"
)

// The tests that take the most locks at once keep to their order: they run again
// in a build that panics where it is broken.
func TestLocksAreTakenInOrder(t *testing.T) {
	if lockorder.Checked {
		t.Skip("this is that build")
	}
	if testing.Short() {
		t.Skip("builds the package again")
	}
	for pkg, tests := range map[string]string{
		".":           "^Test(Delivered|Unread|Egress|Consumer|Lookups|Receive|CloseAnswers|LargestDo|OrderWhile|Forwarding|ForgedRoutes|ForwarderReturns|MembersCome)",
		"./lockorder": ".",
	} {
		out, err := exec.Command("go", "test", "-count=1", "-tags", "lockcheck", "-timeout", "5m", "-run", tests, pkg).CombinedOutput()
		if err != nil {
			t.Errorf("%s with -tags lockcheck: %v\n%s", pkg, err, out)
		}
	}
}
