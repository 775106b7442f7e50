// Package cache checks the promises of package cache on histories: one process for
// linearizability, three nodes for what each may read after which write, and a
// cluster with faults for being coherent again when they are over.
package cache
