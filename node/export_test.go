package node

// Restoring returns how many bytes of a file that is to be restored are in this coordinator's state; false: none waits
// there.
func (n *Node) Restoring() (received int64, some bool) {
	now, some := n.machine.View().Restoring()
	return now.Received, some
}
