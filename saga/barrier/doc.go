// Package barrier makes a participant of sagas safe against messages that come
// twice, too late, or in the wrong order: an action runs once per key, an undo runs
// only if its action has, and an action that comes after its undo is refused.
//
//	func (s *Payments) Take(ctx context.Context, c saga.Call, in Order) (Receipt, error) {
//		tx, err := s.db.BeginTx(ctx, nil)
//		if err != nil {
//			return Receipt{}, err
//		}
//		defer tx.Rollback()
//		r, err := barrier.Do(ctx, barrier.In(tx), c, func(ctx context.Context) (Receipt, error) {
//			return take(ctx, tx, in)
//		})
//		if err != nil {
//			return Receipt{}, err
//		}
//		return r, tx.Commit()
//	}
//
// A row in the participant's own database says what has happened, in the same
// transaction as the effect. The saga.Call comes from saga.CallFrom, or as text in a
// header. The idea is the sub-transaction barrier of dtm.
//
// # Rules
//
// Rows are unique by saga, step, and do or undo. An action inserts "do" and runs. An
// undo inserts "do" first: if that succeeds the action never came, nothing runs,
// and both rows stay, so that a late action gets [ErrLate]; else it inserts "undo"
// and runs. A duplicate gets the answer of the first, as JSON keeps it. Of two open
// transactions with one key the second waits for the first.
//
// An undo looks at whether its action has *committed*: give both the same database.
package barrier
