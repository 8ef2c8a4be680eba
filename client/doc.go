// Package client speaks a coordinator's REST for Go programs: typed calls over a list of coordinators, and sessions that
// stay signed in; and the native session protocol (docs/protocol.md) with Dial.
package client
