package raftnode

import "github.com/hashicorp/raft"

// Raft lets a test compare the library's own answers with ours.
func Raft(n *Node) *raft.Raft { return n.raft }
