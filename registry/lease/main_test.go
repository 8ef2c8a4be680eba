package lease_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the process that is stopped, if it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("LEASE_TEST_CHILD") == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := stoppedProcess(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("well")
}
