// Package sagatest tests sagas and their stores.
//
// [TestStore] and [TestReopen] are the contract of saga.Store in code, for whoever
// writes one.
package sagatest
