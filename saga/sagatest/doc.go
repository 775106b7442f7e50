// Package sagatest tests sagas and their stores.
//
// [TestStore] and [TestReopen] are the contract of saga.Store in code, for whoever
// writes one. [Explore] runs one's own saga under every fault at every point, in
// virtual time.
package sagatest
