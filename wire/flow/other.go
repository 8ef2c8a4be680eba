//go:build !linux

package flow

import "syscall"

// query cannot ask this kernel: only what it takes from us is known.
func query(syscall.RawConn) (sample, bool) { return sample{}, false }

func setUnsentLimit(syscall.RawConn) {}
