// Package saga runs a chain or graph of steps, each a local transaction somewhere,
// to the end, or undoes in reverse what has been done. It survives crashes, takes
// over from dead processes, and says honestly how it ended.
//
// The nearest thing is a workflow engine. The difference: steps are data, so no
// code has to be deterministic, and there is no server, only a [Store].
//
//	order, err := saga.Register(coordinator, saga.Definition[Order]{
//		Name: "order",
//		Steps: []saga.Step[Order]{
//			{Name: "reserve", Do: reserve, Undo: release},
//			{Name: "pay", Do: pay, Undo: refund, Pivot: true},
//			{Name: "ship", Do: ship},
//		},
//	})
//	go coordinator.Serve(ctx)
//	result, err := order.Run(ctx, "order-17", Order{User: 7})
//	if errors.Is(err, saga.ErrCompensated) { ... } // everything is undone
//
// Sagas go back to Garcia-Molina and Salem (1987); the pivot, behind which a saga
// only goes forward, to Mehrotra and others (1992).
//
// # What a step promises
//
// The outcome of a call is one of three: done, refused (without any effect), or
// unknown, since a call that timed out may well have taken effect. An unknown
// outcome is retried, and if that does not help, undone. So Do and Undo both bear
// repeats under the same [Call.Key], and Undo bears that nothing happened.
//
//	Do returns                  the step is   and then
//	nil                         done          what changed in S is stored, and the next step runs
//	Refuse                      refused       the saga compensates, without this step
//	Await, Sleep                parked        the call runs again on the signal or in time
//	any other error, a time-    unknown       again, with backoff; when Retry is used up the saga
//	out, a panic, a Goexit                    compensates, this step included
//	an error that says          unknown       the same without a retry
//	Retryable() == false
//
// Behind the pivot there is no way back: what is refused or used up there makes
// the saga [Stuck], and [Coordinator.Resolve] takes a human's decision. So does an
// Undo that fails for good.
//
// # What is stored
//
// S travels as JSON, and each step appends what it changed. A saga of N steps costs
// N+1 appends, which concurrent sagas share. What a failed attempt wrote into S is
// dropped, as a crash would drop it.
//
// # Who runs it
//
// Any process that serves claims due sagas for the time of its lease. When it dies
// another takes over; when it was only paused, the epoch that every write carries
// refuses its late results, and its calls end with [ErrFenced].
//
// A saga that was claimed ten times without a write in between is [Stuck], with code
// claims: it seems to end each process that runs it. Claims that a process has lost and
// outlived, because it was busy or paused, make no saga Stuck.
package saga
