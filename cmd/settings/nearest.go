package settings

import (
	"fmt"
	"slices"
)

// KnownKey refuses a key that is not among known, and names the nearest that is.
func KnownKey(key string, known []string) error {
	if slices.Contains(known, key) || len(known) == 0 {
		return nil
	}
	nearest := slices.MinFunc(known, func(a, b string) int { return distance(key, a) - distance(key, b) })
	return fmt.Errorf("unknown setting %q: the nearest is %q", key, nearest)
}

// distance is the number of bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
