// Package compat has the hashes and rings of other systems, to route data that
// they have placed already: md5 modulo, Redis Cluster slots, Kafka partitions,
// Cassandra tokens, Vitess key ranges, ketama and Maglev. For new data take
// package sharding itself.
//
// Each function is total, frozen, and checked against values that the other
// system gave. They fit into the maps of package sharding:
//
//	m, err := sharding.Buckets(func(user string) int {
//		return sharding.Mod(compat.MD5Hex(user), 4)
//	}, "db-0", "db-1", "db-2", "db-3")
package compat
