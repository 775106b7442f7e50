// Package cacheredis holds the tests of cache over real Redis servers, with the
// newest go-redis: whole nodes in processes of their own, under outages,
// failovers and faults of the wire. The root module tests the same store with
// the lowest version of go-redis that it requires.
package cacheredis
