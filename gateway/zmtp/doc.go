// Package zmtp speaks ZeroMQ's wire protocol, ZMTP 3.x with the NULL mechanism, over connections that cannot stall or
// break each other.
package zmtp
