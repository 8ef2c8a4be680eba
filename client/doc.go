// Package client is for Go programs that use a cluster. A Client makes typed calls to the REST of a list of
// coordinators. A session stays signed in under its name and moves when its coordinator goes away: the function Dial
// opens one at the coordinators' ports for native sessions (docs/protocol.md), the method Client.Dial over a WebSocket
// of REST.
package client
