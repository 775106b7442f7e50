// Package wire is all that the services of the shop share: one chain that every
// outgoing call runs through, one that every incoming request runs through, and
// the words in which both ends speak (problem details, remaining time, trace
// ids). Services import this package and never each other.
//
// An outgoing call, outside in:
//
//	retry → breaker of the callee → time limit of this try → transport
//
// An incoming request, outside in:
//
//	panic guard → trace id, counters → fault injection → remaining time → handler
//
// The order is the point. A breaker below the retry sees every try, so it opens
// early, and once it is open the retry stops at the first refusal, because a
// rejection says of itself that a repeat cannot help. Faults act on the callee's
// side of a real connection, so callers meet them as they would meet a sick
// server: nothing in the client chain knows that a fault was injected.
package wire
