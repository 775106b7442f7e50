// Package messaging holds the tests of eventsource/messaging that need the newest
// go-redis or whole clusters: the conformance suite on one node and on a cluster,
// and load on servers that are killed under it.
package messaging
