// Package consume is what the brokers of package messaging share: the rules of
// attempts, waiting, order per key and dead letters, and what a message and a
// subscription must look like. An adapter moves bytes; what happens to a
// delivery is decided here, once for all of them.
//
// It does not import package messaging, whose in-memory broker runs on it.
package consume
