//go:build !race

package saga_test

// allocationsOf10 is below the ceiling of 30: it is 17, and one is amortized.
const allocationsOf10 = 20
