// Package eventsource verifies every store of eventsource against one model:
// random operations (rapid), linearizability of concurrent appends and reads
// (porcupine), and logs whose events carry what they relied on.
package eventsource
