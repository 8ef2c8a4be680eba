// Package router brings messages to whoever is signed in, now, on any
// coordinator.
package router
