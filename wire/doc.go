// Package wire holds the words that cross a process border: errors, events,
// message frames and the JSON shapes of REST. It has no logic of its own and
// knows nothing of the log's format.
package wire

// Version is the version of this build's wire words: frame layout, peer
// hello and REST shapes. 1: the first release, 2026-11.
const Version = 1

// Coordinator is the reserved name under which every coordinator is reached
// as a component of its own namespace (LECO control protocol, section 1.3).
const Coordinator = "COORDINATOR"

// Limits that hold everywhere. Sizes are in bytes.
const (
	MaxName      = 255       // namespace or component name; a full name is at most 2*MaxName+1
	MaxCommand   = 256 << 10 // one command in the log, encoded
	MaxMessage   = 64 << 20  // one message, all frames together
	MaxResult    = 64 << 10  // one part's result, encoded
	MaxDepth     = 60        // nesting of lists and objects in a job's args, an item or a result
	MaxParts     = 100_000   // parts of one job
	MaxLabels    = 64        // labels of one component or job
	MaxLabelSize = 1024      // key and value of one label together
)
