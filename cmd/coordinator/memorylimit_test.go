package main

import (
	"math"
	"os"
	"testing"
)

// The smallest limit of all groups above counts; without one there is none.
func TestCgroupLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"container":                           {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30},
		"container that sees the host's path": {map[string]string{"/proc/self/cgroup": "0::/kubepods/pod1/c\n", "/sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30},
		"unit in a slice": {map[string]string{
			"/proc/self/cgroup": "1:cpu:/x\n0::/system.slice/folkmoot.service\n",
			"/sys/fs/cgroup/system.slice/folkmoot.service/memory.max": "max\n", "/sys/fs/cgroup/system.slice/memory.max": "2147483648\n",
		}, 2 << 30},
		"no limit":   {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, math.MaxInt64},
		"version 1":  {map[string]string{"/proc/self/cgroup": "3:memory:/x\n"}, math.MaxInt64},
		"not Linux":  {nil, math.MaxInt64},
		"unreadable": {map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "much\n"}, math.MaxInt64},
	} {
		got := cgroupLimit("/", func(path string) ([]byte, error) {
			if text, ok := c.files[path]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		})
		if got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
