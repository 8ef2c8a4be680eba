package settings_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/cmd/settings"
)

// The last lines are kept, whole ones, and no more than was asked for.
func TestRecentLog(t *testing.T) {
	r := settings.NewRecentLog(100)
	if got := r.Lines(); len(got) != 0 {
		t.Errorf("an empty one has %q", got)
	}
	var all strings.Builder
	for i := range 50 {
		line := fmt.Sprintf("line %d of the log\n", i)
		all.WriteString(line)
		if n, err := r.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		got := string(r.Lines())
		if !strings.HasSuffix(all.String(), got) || !strings.HasPrefix(got, "line ") || len(got) > 100 {
			t.Fatalf("after line %d it has %q", i, got)
		}
		if all.Len() <= 100 && got != all.String() || all.Len() > 100 && len(got) < 80 {
			t.Fatalf("after line %d it has only %q", i, got)
		}
	}
	if _, err := r.Write([]byte(strings.Repeat("x", 1000) + "\n")); err != nil {
		t.Fatal(err)
	}
	if got := r.Lines(); len(got) != 0 {
		t.Errorf("of a line that is too long it has %q", got)
	}
}
