package saga

import (
	"cmp"
	"time"
)

// dueQueue is a heap of unowned sagas by when they are due.
type dueQueue []*held

func (h *held) before(other *held) bool {
	return cmp.Or(h.WakeAt.Compare(other.WakeAt), cmp.Compare(h.ID, other.ID)) < 0
}

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].before(q[j]) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *dueQueue) Push(x any) {
	h := x.(*held)
	h.place = len(*q)
	*q = append(*q, h)
}

func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	h.place = -1
	return h
}

// dueBy counts, to most, what is due. The heap's order prunes what is not.
func (q dueQueue) dueBy(now time.Time, most int) (n int) {
	todo := []int{0}
	for len(todo) > 0 && n < most {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if i < len(q) && !q[i].WakeAt.After(now) {
			n++
			todo = append(todo, 2*i+1, 2*i+2)
		}
	}
	return n
}
