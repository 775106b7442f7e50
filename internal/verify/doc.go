// Package verify is a nested module for tests that need more than the root
// module may require: database drivers and clients of real servers, property
// testing and linearizability checking.
package verify
