// Package cqrs leads commands and queries to their handlers: a typed function
// call whose two sides do not know each other.
//
// The nearest thing is a map from request type to function. Here the compiler
// knows the answer's type at the call, and middleware surrounds every handler.
//
//	commands, queries := cqrs.New(inTransaction), cqrs.New()
//	cqrs.Handle(commands, func(ctx context.Context, c CreateOrder) (OrderID, error) { ... })
//	cqrs.Handle(queries, func(ctx context.Context, q GetOrderByID) (Order, error) { ... })
//
//	id, err := cqrs.Send(ctx, commands, CreateOrder{UserID: 7})
//	order, err := cqrs.Send(ctx, queries, GetOrderByID{ID: id})
//
// Commands change the write side, mostly by a Decider of package eventsource;
// queries read a model that a Projection keeps up to date. Who must see the
// effect of a command waits with Projection.WaitFor before the query.
//
// # When not to use it
//
// Where caller and handler are in one package, call the function. A bus pays
// when an edge (HTTP, a message, a job) must not know who does the work, or when
// transactions, authorization or measurements belong around everything.
// Requests do not leave the process: package messaging carries those that do.
package cqrs
