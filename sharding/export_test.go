package sharding

// For tests of the numbers that placements rest on.
var (
	LogTable = &logTable
	Cost     = cost
	Draw     = draw
)
