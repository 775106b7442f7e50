// Package sharding checks package sharding where a unit test cannot: random
// histories against brute force, and a cluster of shards in virtual time whose
// routers lag, lose and repeat topologies while keys move under load.
package sharding
