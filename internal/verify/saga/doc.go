// Package saga runs the contract of saga's stores on real databases, kills
// processes that coordinate, and counts what they have done twice.
package saga
