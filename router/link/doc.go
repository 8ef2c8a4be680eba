// Package link is the bytes between two coordinators: frames, chunks of large
// messages, what waits to be written, and how a connection lives and is dialled
// again.
package link
