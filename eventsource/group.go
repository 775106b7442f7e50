package eventsource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// groupState is the Data of checkpoint "projection/<Name>@<Version>": who takes
// part, and who has which partition. The record's Position is Head at the first
// run, where Replay ends; its Epoch counts the changes.
type groupState struct {
	Partitions int      `json:"partitions"`
	Members    []member `json:"members"` // sorted by ID
	Owners     []string `json:"owners"`  // of each partition, "" for nobody
}

// A member is one Run. Its beat grows as long as it lives, also over a time in
// which the others thought otherwise.
type member struct {
	ID   string `json:"id"`
	Beat uint64 `json:"beat"`
}

func decodeGroup(cp Checkpoint, partitions int) (g groupState, err error) {
	if err := json.Unmarshal(cp.Data, &g); err != nil || len(g.Owners) != g.Partitions {
		return g, fmt.Errorf("%w: the record of a projection's group: %q", ErrCorrupt, cp.Data)
	}
	if g.Partitions != partitions {
		return g, invalid("Projection.Partitions", partitions, "this Version runs with %d, use a new Version", g.Partitions)
	}
	return g, nil
}

// assign gives each partition to a member so that no two members differ by more
// than one partition and as few as possible move; none has more than
// ceil(partitions/members). owners are those of now, "" for nobody; without
// members nobody owns anything.
func assign(members, owners []string) []string {
	next := make([]string, len(owners))
	if len(members) == 0 {
		return next
	}
	has := map[string]int{}
	for _, m := range owners {
		has[m]++
	}
	// Those who have most keep most: they get the remainder.
	ranked := slices.Clone(members)
	slices.SortStableFunc(ranked, func(a, b string) int { return has[b] - has[a] })
	share := make(map[string]int, len(ranked))
	for i, m := range ranked {
		share[m] = len(owners) / len(ranked)
		if i < len(owners)%len(ranked) {
			share[m]++
		}
	}
	for i, m := range owners {
		if share[m] > 0 {
			next[i] = m
			share[m]--
		}
	}
	for i := range next {
		for ; next[i] == ""; ranked = ranked[1:] {
			if m := ranked[0]; share[m] > 0 {
				next[i] = m
				share[m]--
				break
			}
		}
	}
	return next
}

// A move is what one Run knows when it changes the group's state.
type move struct {
	me      string
	silent  func(member) bool // has not been heard of for the length of a lease
	running func(i int) bool  // this Run still works on partition i
	beat    uint64            // greater than any that this Run has written
	leaving bool
}

// next returns the state after the move, and the owners that it aims at. A
// partition that should go elsewhere stays until its worker has ended.
func (g groupState) next(m move) (to groupState, aim []string) {
	to = groupState{Partitions: g.Partitions, Owners: slices.Clone(g.Owners)}
	for _, other := range g.Members {
		if other.ID == m.me || !m.silent(other) {
			to.Members = append(to.Members, other)
		}
	}
	i, found := slices.BinarySearchFunc(to.Members, m.me, func(e member, id string) int { return strings.Compare(e.ID, id) })
	if !found {
		to.Members = slices.Insert(to.Members, i, member{ID: m.me})
	}
	to.Members[i].Beat = m.beat
	ids := to.ids()
	for i, owner := range to.Owners {
		if !slices.Contains(ids, owner) {
			to.Owners[i] = ""
		}
	}
	if m.leaving {
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == m.me })
	}
	aim = assign(ids, to.Owners)
	busy := false
	for i, owner := range to.Owners {
		if owner == "" || owner == m.me && !m.running(i) {
			to.Owners[i] = aim[i]
		}
		busy = busy || m.running(i)
	}
	if m.leaving && !busy {
		to.Members = slices.Delete(to.Members, i, i+1)
	}
	return to, aim
}

func (g groupState) ids() []string {
	ids := make([]string, len(g.Members))
	for i, m := range g.Members {
		ids[i] = m.ID
	}
	return ids
}
