// Package topology says which coordinators keep links to each other and which
// ways messages can take over them: pure functions of ids.
package topology
