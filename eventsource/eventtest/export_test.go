package eventtest

import "time"

// SetPatience is for stores that are known to hang.
func SetPatience(d time.Duration) { patience = d }

// NamesOfTests are the names of all tests of both suites.
func NamesOfTests() (names []string) {
	for _, tests := range storeTests {
		for _, c := range tests {
			names = append(names, c.name)
		}
	}
	for _, c := range checkpointTests {
		names = append(names, c.name)
	}
	return names
}
