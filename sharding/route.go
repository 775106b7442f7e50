package sharding

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Route says where a key belongs, as of an epoch. It is a plain value of four
// words on purpose: a fifth would double the cost of a lookup.
//
// Its text travels with a request, in a header, so that the shard's [Guard]
// can tell whether the caller is up to date.
type Route struct {
	Shard ID
	Epoch uint64 // 0 means unknown, which is older than all
	class *class // nil for routes that no topology gave
}

// Since returns the epoch at which the owner, mirror, reads or block of this
// part of the keys last changed, or Epoch if that is not known.
func (rt Route) Since() uint64 {
	if rt.class == nil {
		return rt.Epoch
	}
	return rt.class.since
}

// Mirror returns the shard that gets a copy of every write, "" unless the key
// is moving. A route that came by a header or from a refusal, as [Do] makes one
// while the source is behind, knows no mirror: whoever copies moving keys must
// repair such writes under the block, as after a copy that failed.
func (rt Route) Mirror() ID {
	if rt.class == nil {
		return ""
	}
	return rt.class.mirror
}

// Reader returns where to read if some lag is tolerated: the mirror under
// ReadMirror, else Shard.
func (rt Route) Reader() ID {
	if rt.class == nil || !rt.class.read {
		return rt.Shard
	}
	return rt.class.mirror
}

// Blocked reports whether the key takes no writes for now.
func (rt Route) Blocked() bool { return rt.class != nil && rt.class.block }

// MarshalText returns "epoch.since.shard", such as "7.3.users-2".
func (rt Route) MarshalText() ([]byte, error) {
	if err := rt.Shard.check(); err != nil {
		return nil, fmt.Errorf("sharding: route: %w", err)
	}
	text := strconv.AppendUint(make([]byte, 0, 24+len(rt.Shard)), rt.Epoch, 10)
	text = strconv.AppendUint(append(text, '.'), rt.Since(), 10)
	return append(append(text, '.'), rt.Shard...), nil
}

// UnmarshalText reads what MarshalText wrote. Mirror, reader and block do not
// travel: they are for the router that made the route. It accepts no other
// spelling of a route, and leaves rt alone if it returns an error.
func (rt *Route) UnmarshalText(text []byte) error {
	epoch, rest, ok := strings.Cut(string(text), ".")
	since, shard, ok2 := strings.Cut(rest, ".")
	e, err1 := parseEpoch(epoch)
	s, err2 := parseEpoch(since)
	err := errors.Join(err1, err2, ID(shard).check())
	switch {
	case !ok || !ok2:
		return fmt.Errorf("sharding: route %.80q must be epoch.since.shard", text)
	case err != nil:
		return fmt.Errorf("sharding: route %.80q: %w", text, err)
	case s > e:
		return fmt.Errorf("sharding: route %.80q: since is later than epoch", text)
	}
	*rt = Route{Shard: ID(shard), Epoch: e, class: &class{owner: ID(shard), since: s}}
	return nil
}

func parseEpoch(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || len(text) > 1 && text[0] == '0' {
		return 0, fmt.Errorf("%.20q is not an epoch", text)
	}
	return n, nil
}
