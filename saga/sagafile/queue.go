package sagafile

import (
	"cmp"
	"container/heap"
)

// dueQueue is a heap of the unowned sagas of one definition by when they are due.
type dueQueue []*entry

func (e *entry) before(other *entry) bool {
	return cmp.Or(cmp.Compare(e.wakeAt, other.wakeAt), cmp.Compare(e.id, other.id)) < 0
}

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].before(q[j]) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = int32(i), int32(j)
}

func (q *dueQueue) Push(x any) {
	e := x.(*entry)
	e.place = int32(len(*q))
	*q = append(*q, e)
}

func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.place = -1
	return e
}

// dueBy counts, to most, what is due. The heap's order prunes what is not.
func (q dueQueue) dueBy(now int64, most int) (n int) {
	todo := []int{0}
	for len(todo) > 0 && n < most {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if i < len(q) && q[i].wakeAt <= now {
			n++
			todo = append(todo, 2*i+1, 2*i+2)
		}
	}
	return n
}

// leave takes the saga out of its owner's hands and out of its queue; place puts
// it where its fields say.
func (s *Store) leave(e *entry) {
	if e.owner != nil {
		delete(e.owner.sagas, e)
		delete(e.owner.mail, e)
	}
	if e.place >= 0 {
		heap.Remove(e.queue, int(e.place))
	}
}

func (s *Store) place(e *entry) {
	if e.owner != nil {
		e.owner.sagas[e] = struct{}{}
		if e.unread() > 0 {
			e.owner.mail[e] = struct{}{}
		}
		return
	}
	if e.wakeAt == 0 || e.place >= 0 {
		return
	}
	q := s.queues[e.def]
	if q == nil {
		q = &dueQueue{}
		s.queues[e.def] = q
	}
	e.queue = q
	heap.Push(q, e)
}
