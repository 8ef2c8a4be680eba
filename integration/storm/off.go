//go:build !storm

package storm

const built = false
