//go:build race

package saga_test

// The race detector makes sync.Pool drop things on purpose.
const allocationsOf10 = 100
