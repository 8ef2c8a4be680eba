package wire

import "time"

// LongestCPUProfile bounds how long GET /v1/debug/bundle looks at what the processor does.
const LongestCPUProfile = 30 * time.Second
