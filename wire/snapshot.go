package wire

// Restored says what a snapshot was restored over.
type Restored struct {
	Cluster     string `json:"cluster"`
	FileCluster string `json:"file_cluster"` // of the snapshot
	FileIndex   uint64 `json:"file_index"`   // of the snapshot
	Rows        int    `json:"rows"`
	Index       uint64 `json:"index"` // at which it was restored
}
