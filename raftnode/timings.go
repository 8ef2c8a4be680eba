package raftnode

import "github.com/folkmoot/folkmoot/wire/histogram"

// Timings are how long the steps of writes took, since this process began.
type Timings struct {
	Commit histogram.Histogram // of each command proposed here as the leader, until it was committed
	Apply  histogram.Histogram // of each entry in the machine, replayed ones too
}

// Timings returns those of this node. They go on being counted.
func (n *Node) Timings() *Timings { return &n.timings }

// Stored returns how long it took to store entries of the log, until they were on the disk.
func (n *Node) Stored() *histogram.Histogram { return &n.stores.Stored }

// LogSize returns the bytes of the files that hold the log, and how many of them are free
// for further entries. It reads the sizes of files.
func (n *Node) LogSize() (size, free uint64) { return n.stores.LogSize() }
