package jobs

import (
	"fmt"
	"testing"
)

// counted returns a table of n jobs, a fifth of them in each state.
func counted(n int) *Table {
	t := new(Table).Next(1)
	states := []string{Queued, Running, Done, Failed, Cancelled}
	for i := range n {
		t.PutJob(Job{ID: fmt.Sprintf("j%06d", i), State: states[i%len(states)], Total: 1})
	}
	return t
}

// What a scrape asks of the table costs the same with 100,000 jobs as with none:
// no row is visited. Every row is taken away behind the counts' back, so that a
// visit would not go unnoticed.
func TestSumsVisitNoRow(t *testing.T) {
	t.Parallel()
	const n = 100_000
	table := counted(n)
	visited := 0
	for range table.Jobs() {
		visited++
	}
	if visited != n {
		t.Fatalf("the table has %d rows, want %d", visited, n)
	}
	table.jobs.Clear()
	if got, want := table.States(), (StateCounts{n / 5, n / 5, n / 5, n / 5, n / 5}); got != want {
		t.Errorf("without rows the states are %+v, want %+v", got, want)
	}
	if got := table.Size().Jobs; got != n {
		t.Errorf("without rows the size has %d jobs, want %d", got, n)
	}
}

// A row written anew in another state is counted there alone, and a frozen
// table keeps its counts.
func TestStatesFollowTheRows(t *testing.T) {
	t.Parallel()
	before := counted(5)
	after := before.Next(2)
	after.PutJob(Job{ID: "j000000", State: Done, Total: 1})
	if got, want := after.States(), (StateCounts{Running: 1, Done: 2, Failed: 1, Cancelled: 1}); got != want {
		t.Errorf("the states are %+v, want %+v", got, want)
	}
	if got, want := before.States(), (StateCounts{1, 1, 1, 1, 1}); got != want {
		t.Errorf("the states of the table before are %+v, want %+v", got, want)
	}
}
