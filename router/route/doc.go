// Package route knows which coordinators keep links to each other, which of those
// are down, and the shortest routes over the others.
package route
