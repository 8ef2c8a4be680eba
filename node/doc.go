// Package node puts one coordinator together.
package node
