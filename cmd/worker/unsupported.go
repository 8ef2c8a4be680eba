//go:build !unix

package main

// A worker runs each part in a process group of its own and kills the whole
// group at the end. Only Unix systems have that, so that elsewhere the build
// ends here, with the reason. raftctl and the SDKs build everywhere.
func main() { the_worker_needs_a_Unix_system_see_docs_jobs_md() }
