// Package eventtest holds the conformance suites of package eventsource, which
// are the definition of its contracts in code: [TestStore] for event stores,
// [TestCheckpoints] for checkpoints.
//
// It is to stores what testing/fstest is to file systems.
//
//	func TestStore(t *testing.T) {
//		eventtest.TestStore(t, func(t *testing.T) eventsource.Store { return open(t) })
//	}
package eventtest
