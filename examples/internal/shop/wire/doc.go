// Package wire is all that the services of the shop share: one chain that every
// outgoing call runs through, one that every incoming request runs through, and
// the words in which both ends speak (problem details, remaining time, trace
// ids). Services import this package and never each other.
//
// An outgoing call, outside in:
//
//	retry → bridge over a restart → balancer → breaker of the instance → time limit of this try → transport
//
// An incoming request, outside in:
//
//	panic guard → trace id, counters → fault injection → remaining time → held until ready → handler
//
// The order is the point. A breaker below the retry sees every try, so it opens
// early, and once it is open the retry stops at the first refusal, because a
// rejection says of itself that a repeat cannot help. Faults act on the callee's
// side of a real connection, so callers meet them as they would meet a sick
// server: nothing in the client chain knows that a fault was injected.
//
// Beside the chains a Node gives its service what a framework would: logs and read
// models (host.go, model.go), a way to the broker and to L2, a say in its health, and
// its place in the registry (discovery.go). A service is a function that takes a Node
// and returns its routes.
package wire
