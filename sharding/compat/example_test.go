package compat_test

import (
	"fmt"

	"github.com/keelson-go/keelson/sharding"
	"github.com/keelson-go/keelson/sharding/compat"
)

// parseInt(md5(userId).substring(0, 8), 16) % 4 of user 1.
func ExampleMD5Hex() {
	fmt.Println(compat.MD5Hex("1"), sharding.Mod(compat.MD5Hex("1"), 4))
	// Output: 3301589560 0
}

func ExampleMD5Bytes() {
	fmt.Println(compat.MD5Bytes("1"), sharding.Mod(compat.MD5Bytes("1"), 4))
	// Output: 14180219187711517570 2
}

func ExampleCRC16() {
	fmt.Printf("%x\n", compat.CRC16([]byte("123456789")))
	// Output: 31c3
}

func ExampleTag() {
	fmt.Println(compat.Tag("{user1000}.following"), compat.Tag("user1000"))
	// Output: user1000 user1000
}

// The slots of a Redis Cluster as buckets of their nodes.
func ExampleSlot() {
	nodes := make([]sharding.ID, 16384)
	for i := range nodes {
		nodes[i] = []sharding.ID{"redis-0", "redis-1", "redis-2"}[i*3/len(nodes)]
	}
	cluster, err := sharding.Buckets(compat.Slot, nodes...)
	if err != nil {
		panic(err)
	}
	fmt.Println(compat.Slot("{user1000}.following"))
	fmt.Println(cluster.Owner("{user1000}.following"))
	// Output:
	// 3443
	// redis-0 <nil>
}

func ExampleMurmur2() {
	fmt.Printf("%x\n", compat.Murmur2([]byte("kafka")))
	// Output: d067cf64
}

func ExampleKafkaPartition() {
	fmt.Println(compat.KafkaPartition([]byte("kafka"), 6))
	// Output: 4
}

func ExampleMurmur3Token() {
	fmt.Println(compat.Murmur3Token([]byte("123")))
	// Output: -7468325962851647638
}

func ExampleKeyRange() {
	r, err := compat.KeyRange("40-80")
	fmt.Printf("%x %x %s %v\n", *r.From, *r.To, r.Owner, err)
	_, err = compat.KeyRange("80-8000")
	fmt.Println(err)
	// Output:
	// 4000000000000000 8000000000000000 40-80 <nil>
	// compat: shard name "80-8000" has no keys
}

func ExampleKetama() {
	ring, err := compat.NewKetama(
		sharding.Shard{ID: "10.0.1.1:11211", Weight: 600}, sharding.Shard{ID: "10.0.1.2:11211", Weight: 300},
	)
	if err != nil {
		panic(err)
	}
	servers, _ := sharding.Buckets(ring.Bucket, "10.0.1.1:11211", "10.0.1.2:11211")
	fmt.Println(servers.Owner("user:1"))
	// Output: 10.0.1.1:11211 <nil>
}

func ExampleMaglev() {
	ids := []sharding.ID{"a", "b", "c"}
	table, err := compat.NewMaglev(sharding.String, 65537, ids...)
	if err != nil {
		panic(err)
	}
	backends, _ := sharding.Buckets(func(flow string) int { return table.Bucket(sharding.String(flow)) }, ids...)
	fmt.Println(backends.Owner("10.0.0.1:4711"))
	// Output: a <nil>
}
