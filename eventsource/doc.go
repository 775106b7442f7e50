// Package eventsource is an append-only event store behind a contract of four
// methods, with deciders, folds and projections built once on top of it.
//
// It is to state what double-entry bookkeeping is to a balance: instead of the
// latest value a program keeps what has happened, and the value follows. Unlike
// a message broker a [Store] is asked before it accepts: a [Condition] must
// hold at the instant of the append, so that events can be decisions. Unlike a
// framework it has no base class and no registry: a [Decider] is three pure
// functions, and everything here works on any Store.
//
//	var bank = eventsource.Decider[any, Event, Account]{Evolve: evolve, Decide: decide}
//	...
//	store := eventsource.NewMemory() // or eventfile.Open, or eventsql.Open
//	in := eventsource.Scope{Stream: "account-7"}
//	_, err := bank.Handle(ctx, store, codec, in, Deposit{1000})
//	...
//	// the balance at the end of March
//	o := eventsource.ReadOptions{AsOf: march}
//	account, _, err := eventsource.Fold(ctx, store, codec, eventsource.Stream("account-7"), o, Account{}, evolve)
//
// # Events
//
// An [Event] has a stored name, bytes, tags, audit data, and mostly a stream:
// the thing that it happened to, whose events are numbered 1, 2, 3 ... All
// events of a store have one order, their [Position]. A [Query] selects by
// stream, type and tag. A [Codec] translates between events and the Go types of
// a program, and leads old layouts to the present one.
//
// # Conditions
//
//   - [AtVersion] and [NoStream]: the stream has not moved since it was read.
//   - [Exists]: the stream is there.
//   - [NoneSince]: nothing that matches a query has been added since, a dynamic
//     consistency boundary (DCB, dcb.events): the rule that an address is used
//     once has no stream of its own.
//   - [Track]: the input at this position has not been worked on before.
//
// One append may have several, of any kind, also on streams that it does not
// write. Ids come first: an append whose ids are known is a repeat, and returns
// what the first one did. So a caller who got no answer sends the same again.
//
// # Which store
//
// [Memory] is for tests and for what may be lost; eventfile is a log on the
// local disk, for one process; eventsql keeps events in Postgres or SQLite,
// beside the tables of the program. What Append returns is durable as the
// store's documentation says. A store of your own must pass package eventtest.
//
// # Reading
//
// Read shows everything that is committed. What is at or below [Store.Head] is
// final: nothing will ever appear there. [Subscribe] and [Projection] never go
// beyond it, and so never miss the event of a slow transaction. A projection is
// a read model that keeps its place in [Checkpoints], is shared by all processes
// that run it, and can be built anew beside the old one. Delivery is at least
// once; exactly once where the read model is in the database of eventsql.
//
// # Not here
//
// Events are never changed or deleted. Personal data that must be forgotten
// goes through package sealed, which destroys the key instead.
package eventsource
