package collect

import "github.com/keelson-go/keelson/sharding"

// Shards is how the users are spread, as their service tells. Config is the placement
// that is in force, of which whoever asks what another shard would move makes the next.
type Shards struct {
	Epoch  uint64              `json:"epoch"` // of the topology; 0 is unknown
	Keys   int                 `json:"keys"`  // users
	Config sharding.SlotConfig `json:"config"`
	Each   map[string]Shard    `json:"each"`
}

// Shard is one of them.
type Shard struct {
	Slots    int     `json:"slots"`
	Users    int     `json:"users"`
	Asked    uint64  `json:"asked"`    // look-ups and writes since the start
	Hot      int     `json:"hot"`      // the user who is asked for most; 0 is nobody
	HotShare float64 `json:"hotShare"` // of what was asked lately
}
