package node

import (
	"maps"
	"slices"
	"testing"

	"github.com/folkmoot/folkmoot/router"
)

// Every counter of the router is shown as one metric, and no two as the same.
func TestEveryRouterCounterIsAMetric(t *testing.T) {
	t.Parallel()
	got := slices.Sorted(maps.Keys(messageMetrics))
	want := slices.Sorted(maps.Keys(new(router.Router).Stats()))
	if !slices.Equal(got, want) {
		t.Errorf("there are metrics for %q, want those of the router's counters, %q", got, want)
	}
	shown := map[string]string{}
	for name, m := range messageMetrics {
		as := m.desc.String() + " " + slices.Concat(m.labels, []string{""})[0]
		if other, twice := shown[as]; twice {
			t.Errorf("%s and %s are both shown as %s", name, other, as)
		}
		shown[as] = name
	}
}
