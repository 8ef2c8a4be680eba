package node

import "github.com/prometheus/client_golang/prometheus"

// DescribedMetrics returns the descriptions of all metrics that a node can have, but for those of REST.
func DescribedMetrics() (all []string) {
	out := make(chan *prometheus.Desc, 1000)
	new(collector).Describe(out)
	close(out)
	for d := range out {
		all = append(all, d.String())
	}
	return all
}

// Restoring returns how many bytes of a file that is to be restored are in this coordinator's state; false: none waits
// there.
func (n *Node) Restoring() (received int64, some bool) {
	now, some := n.machine.View().Restoring()
	return now.Received, some
}
