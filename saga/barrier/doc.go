// Package barrier guards a participant of sagas: whatever arrives twice, late or in
// the wrong order, its effect happens once, an undo undoes what happened, and an
// action that comes after its undo does nothing.
//
// The nearest thing is a table of idempotency keys. The difference is the undo: it
// may overtake its action, and then both have to do nothing, which two keys alone
// cannot see.
//
//	func (b *Bank) reserve(ctx context.Context, tx *sql.Tx, call saga.Call, cents int) (Receipt, error) {
//		return barrier.Do(ctx, barrier.In(tx), call, func(ctx context.Context) (Receipt, error) {
//			return b.book(ctx, tx, cents) // at most once per call.Key
//		})
//	}
//
// The rows of the guard are in the participant's own transaction, beside its
// business rows: both commit or neither does. The technique is that of dtm's
// sub-transaction barrier.
//
// # What it does
//
// An action inserts the row (saga, step, do). An undo inserts the same row first:
// if that works the action never came, so there is nothing to undo, and both rows
// stay, which makes the late action fail with [ErrLate]. Otherwise it inserts (saga,
// step, undo) and runs. Concurrent transactions wait for each other on the row. A
// duplicate gets the first answer.
package barrier
