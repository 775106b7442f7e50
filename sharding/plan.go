package sharding

import (
	"slices"
	"strings"
)

// Move hands keys over: Keys.Owner gives them, To receives them. P is a slot
// number or a key.
type Move[P any] struct {
	Keys Range[P] `json:"keys"`
	To   ID       `json:"to,omitempty"`
}

// String returns "[1, 1000000) shard-1 -> shard-2". An owner that there is
// not, because cover was lost or gained, is "nobody".
func (m Move[P]) String() string {
	return m.Keys.keys() + " " + orNobody(m.Keys.Owner) + " -> " + orNobody(m.To)
}

// Plan is what changes between two placements. To move a budget at a time, cut
// it with slices.Chunk and hold the rest back with [Plan.Held].
type Plan[P any] []Move[P]

// Reverse returns the way back: the last move first, each with giver and
// receiver exchanged.
func (p Plan[P]) Reverse() Plan[P] {
	back := make(Plan[P], 0, len(p))
	for _, m := range slices.Backward(p) {
		keys := m.Keys.clone()
		keys.Owner = m.To
		back = append(back, Move[P]{Keys: keys, To: m.Keys.Owner})
	}
	return back
}

// Held returns the keys of the plan with their present owners: as
// [SlotConfig].Assigned it makes a placement that leaves p for later.
func (p Plan[P]) Held() []Range[P] {
	held := make([]Range[P], 0, len(p))
	for _, m := range p {
		held = append(held, m.Keys.clone())
	}
	return held
}

// String returns a line per move.
func (p Plan[P]) String() string {
	var b strings.Builder
	for i, m := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(m.String())
	}
	return b.String()
}

func orNobody(id ID) string {
	if id == "" {
		return "nobody"
	}
	return string(id)
}
