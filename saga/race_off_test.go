//go:build !race

package saga_test

const allocationsOf10 = 30
