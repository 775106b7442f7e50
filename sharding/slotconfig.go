package sharding

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

func (c *SlotConfig) slots() int {
	if c.Slots == 0 {
		return defaultSlots
	}
	return c.Slots
}

func (c *SlotConfig) owners() int { return max(c.Owners, 1) }

func (c SlotConfig) clone() SlotConfig {
	c.Shards = slices.Clone(c.Shards)
	c.Assigned = cloneRanges(c.Assigned)
	return c
}

// check returns all that is wrong with c, joined.
func (c *SlotConfig) check() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("sharding: SlotConfig."+format, args...))
	}
	if n := c.slots(); n < 1 || n > maxSlots || n&(n-1) != 0 {
		bad("Slots is %d, must be a power of two up to %d", c.Slots, maxSlots)
		return errors.Join(errs...) // the checks of Assigned need it
	}
	if c.Owners < 0 || c.Owners > maxOwners {
		bad("Owners is %d, must be 0 to %d", c.Owners, maxOwners)
	}
	if c.CapPercent != 0 && c.CapPercent < 100 {
		bad("CapPercent is %d, must be 0 or at least 100: less would leave slots without an owner", c.CapPercent)
	}
	c.checkShards(bad)
	if err := c.checkAssigned(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *SlotConfig) checkShards(bad func(string, ...any)) {
	if len(c.Shards) > maxShards {
		bad("Shards has %d members, at most %d are allowed", len(c.Shards), maxShards)
	}
	seen := make(map[ID]bool, len(c.Shards))
	live := 0
	for i, s := range c.Shards {
		if err := s.ID.check(); err != nil {
			bad("Shards[%d]: %w", i, err)
		} else if seen[s.ID] {
			bad("Shards[%d]: shard ID %q is there twice", i, s.ID)
		}
		seen[s.ID] = true
		if !s.Drain {
			live++
		}
	}
	if live == 0 {
		bad("Shards has no member that is not drained")
	}
}

func (c *SlotConfig) checkAssigned() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("sharding: SlotConfig.Assigned"+format, args...))
	}
	n := c.slots()
	member := make(map[ID]bool, len(c.Shards))
	for _, s := range c.Shards {
		member[s.ID] = true
	}
	sorted := slices.SortedFunc(slices.Values(c.Assigned), func(a, b Range[int]) int {
		af, _ := slotsOf(a, n)
		bf, _ := slotsOf(b, n)
		return cmp.Compare(af, bf)
	})
	end, last := 0, Range[int]{}
	for _, r := range sorted {
		from, to := slotsOf(r, n)
		switch {
		case from < 0 || to > n || from >= to:
			bad(": %v must be slots of 0 to %d, in order", r, n)
			continue
		case !member[r.Owner]:
			bad(": %v goes to a shard that is not in Shards", r)
		case from < end:
			bad(": %w: %v and %v share slots [%d, %d)", ErrOverlap, last, r, from, min(end, to))
		}
		if to > end {
			end, last = to, r
		}
	}
	return errors.Join(errs...)
}

// slotsOf returns the slots of r, which are from <= slot < to, out of n.
func slotsOf(r Range[int], n int) (from, to int) {
	from, to = 0, n
	if r.From != nil {
		from = *r.From
	}
	if r.To != nil {
		to = *r.To
	}
	return from, to
}
