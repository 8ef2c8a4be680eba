// Package access is rights, grants and tokens: who may do what in which
// namespace.
package access

import (
	"slices"
	"strings"
)

// Level is the level of the cluster from which on there are tokens in the state.
const Level = 2

// Right is one thing that a token may be allowed. The set is closed, and the log
// is judged by it: a new one comes with a new level of the cluster.
type Right string

// The rights. All but the last two are of a namespace; Admin is of one, or of
// everything.
const (
	ComponentsRead  Right = "components:read"
	ComponentsWrite Right = "components:write"
	MessagesSend    Right = "messages:send"
	ServicesRead    Right = "services:read"
	ServicesWrite   Right = "services:write"
	LocksRead       Right = "locks:read"
	LocksWrite      Right = "locks:write"
	FlowsRead       Right = "flows:read"
	FlowsWrite      Right = "flows:write"
	FlowsSend       Right = "flows:send"
	JobsRead        Right = "jobs:read"
	JobsWrite       Right = "jobs:write"
	JobsWork        Right = "jobs:work"
	Read            Right = "read"  // every ":read" of a namespace
	Write           Right = "write" // every ":write", messages:send, flows:send and jobs:work of a namespace
	Admin           Right = "admin" // of a namespace: everything there; of none: everything
	ClusterRead     Right = "cluster:read"
	ClusterWrite    Right = "cluster:write"
)

// Scope says how a right is written in a grant.
type Scope uint8

// The scopes.
const (
	OfNamespace Scope = 1 << iota // RIGHT@NAMESPACE
	OfCluster                     // RIGHT
)

// rule is what there is to know of a right.
type rule struct {
	right    Right
	scope    Scope
	contains []Right // directly, in the same namespace
}

// rules are all rights, in the order in which they are listed to users.
var rules = []rule{
	{ComponentsRead, OfNamespace, nil},
	{ComponentsWrite, OfNamespace, []Right{ComponentsRead}},
	{MessagesSend, OfNamespace, nil},
	{ServicesRead, OfNamespace, nil},
	{ServicesWrite, OfNamespace, []Right{ServicesRead}},
	{LocksRead, OfNamespace, nil},
	{LocksWrite, OfNamespace, []Right{LocksRead}},
	{FlowsRead, OfNamespace, nil},
	{FlowsWrite, OfNamespace, []Right{FlowsRead}},
	{FlowsSend, OfNamespace, nil},
	{JobsRead, OfNamespace, nil},
	{JobsWrite, OfNamespace, []Right{JobsRead}},
	{JobsWork, OfNamespace, nil},
	{Read, OfNamespace, []Right{ComponentsRead, ServicesRead, LocksRead, FlowsRead, JobsRead}},
	{Write, OfNamespace, []Right{Read, ComponentsWrite, ServicesWrite, LocksWrite, FlowsWrite, JobsWrite, MessagesSend, FlowsSend, JobsWork}},
	{Admin, OfNamespace | OfCluster, []Right{Write}},
	{ClusterRead, OfCluster, nil},
	{ClusterWrite, OfCluster, []Right{ClusterRead}},
}

// Rights returns all rights, in the order in which they are listed to users.
func Rights() []Right {
	all := make([]Right, len(rules))
	for i, r := range rules {
		all[i] = r.right
	}
	return all
}

// Scope says how the right is written in a grant: with a namespace, without, or
// either. It is 0 if there is no such right.
func (r Right) Scope() Scope {
	if i := index(r); i >= 0 {
		return rules[i].scope
	}
	return 0
}

// Contains reports whether whoever has r in a namespace has other there, too.
// Every right that there is contains itself.
func (r Right) Contains(other Right) bool {
	i := index(r)
	return i >= 0 && index(other) >= 0 && contained[i]&(1<<index(other)) != 0
}

// Read is the right to read what r changes; r itself if it changes nothing.
func (r Right) Read() Right {
	if resource, write := strings.CutSuffix(string(r), ":write"); write {
		return Right(resource + ":read")
	}
	return r
}

func index(r Right) int {
	return slices.IndexFunc(rules, func(x rule) bool { return x.right == r })
}

// contained has for each right, by its place in rules, the bits of those that it
// contains.
var contained = func() []uint32 {
	bits := make([]uint32, len(rules))
	var add func(to *uint32, r Right)
	add = func(to *uint32, r Right) {
		i := index(r)
		*to |= 1 << i
		for _, inner := range rules[i].contains {
			add(to, inner)
		}
	}
	for i := range rules {
		add(&bits[i], rules[i].right)
	}
	return bits
}()
