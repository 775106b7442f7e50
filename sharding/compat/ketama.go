package compat

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/keelson-go/keelson/sharding"
)

// Ketama is the continuum of libketama, a ring of 160 points per server on
// average, for data such as memcached's that is placed by it. It is immutable
// and for concurrent use.
//
// How many points a server has depends on all of them: when one is added,
// keys move between the others too. That is ketama, not a mistake.
type Ketama struct {
	points []point
	ids    []sharding.ID
}

// A point owns the hashes up to and including its own.
type point struct {
	hash   uint32
	server int
}

// NewKetama returns the continuum of the servers, whose IDs are "host:port"
// and whose weights are their memory. Zones do not count. Duplicate IDs,
// drained servers and no server at all are errors.
func NewKetama(servers ...sharding.Shard) (*Ketama, error) {
	if len(servers) == 0 {
		return nil, errors.New("compat: there are no servers")
	}
	k := &Ketama{}
	var total uint64
	for i, s := range servers {
		switch {
		case s.ID == "":
			return nil, fmt.Errorf("compat: server %d has no ID", i)
		case s.Drain:
			return nil, fmt.Errorf("compat: server %s is drained: leave it out instead", s.ID)
		case slices.Contains(k.ids, s.ID):
			return nil, fmt.Errorf("compat: server %s is there twice", s.ID)
		}
		k.ids = append(k.ids, s.ID)
		total += uint64(max(s.Weight, 1))
	}
	for i, s := range servers {
		k.add(i, digests(max(s.Weight, 1), total, len(servers)))
	}
	// libketama leaves equal points to qsort; here the smaller ID is first.
	slices.SortFunc(k.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(k.ids[a.server], k.ids[b.server]))
	})
	return k, nil
}

// digests returns how many digests of 4 points a server gets. The conversions
// are those of the C source, where the share is a float and the product a
// double that is cut to a float; they also keep processors from fusing.
func digests(weight uint32, total uint64, servers int) int {
	share := float32(weight) / float32(total)
	return int(math.Floor(float64(float32(float64(float64(share)*40) * float64(servers)))))
}

func (k *Ketama) add(server, digests int) {
	for i := range digests {
		sum := md5.Sum(fmt.Appendf(nil, "%s-%d", k.ids[server], i))
		for h := range 4 {
			k.points = append(k.points, point{binary.LittleEndian.Uint32(sum[4*h:]), server})
		}
	}
}

// Bucket returns the server of a key as its index, for [sharding.Buckets].
func (k *Ketama) Bucket(key string) int {
	_, p := k.locate(key)
	return p.server
}

// Locate returns the key's hash, the first point at or after it, going round
// after the last, and the server of that point.
func (k *Ketama) Locate(key string) (hash, point uint32, owner sharding.ID) {
	hash, p := k.locate(key)
	return hash, p.hash, k.ids[p.server]
}

func (k *Ketama) locate(key string) (uint32, point) {
	sum := sumMD5(key)
	hash := binary.LittleEndian.Uint32(sum[:])
	i := sort.Search(len(k.points), func(i int) bool { return k.points[i].hash >= hash })
	if i == len(k.points) {
		i = 0
	}
	return hash, k.points[i]
}
