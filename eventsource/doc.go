// Package eventsource is an append-only event store behind a contract of four
// methods, with deciders, folds and projections built once on top of it.
package eventsource
