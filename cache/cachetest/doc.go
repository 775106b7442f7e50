// Package cachetest holds what tests of caches need: [Cluster], an in-memory
// server with links that fail on command, and the conformance suites
// [TestRemote] and [TestBus], which every implementation of [cache.Remote] and
// [cache.Bus] must pass, those of users included.
//
// It is to caches what testing/fstest and net/http/httptest are to file systems
// and servers.
//
//	func TestStore(t *testing.T) {
//		cachetest.TestRemote(t, func(t *testing.T) cache.Remote { return open(t) })
//		cachetest.TestBus(t, func(t *testing.T) cache.Bus { return open(t) })
//	}
//
// # A cluster in a bubble
//
// A [Cluster] has no goroutine and no clock of its own: made inside a
// testing/synctest bubble, it lives on the bubble's time, so that an outage of a
// minute costs nothing. Each [Node] is one client of it.
//
//	synctest.Test(t, func(t *testing.T) {
//		cluster := cachetest.NewCluster(1)
//		node := cluster.Node()
//		c, err := cache.New(cache.Config[string, User]{Remote: node, Bus: node, Load: load})
//		...
//		node.Cut()                  // nothing gets through, in either direction
//		time.Sleep(time.Minute)
//		node.Heal()
//	})
package cachetest
