package control

import (
	"github.com/folkmoot/folkmoot/raftnode"
	"github.com/folkmoot/folkmoot/registry"
	"github.com/folkmoot/folkmoot/wire"
)

// member is one server of the group with what its coordinator announced.
func (c *Control) member(table *registry.Table, m raftnode.MemberInfo) wire.Member {
	out := wire.Member{ID: m.ID}
	if row, ok := table.Coordinator(m.ID); ok && row.ServerID == m.ServerID {
		out.Namespace, out.HTTPAddress = row.Namespace, row.HTTPAddr
	}
	return out
}

// replica fills in what the log's own keeper knows.
func (c *Control) replica(s *wire.Status) {}
