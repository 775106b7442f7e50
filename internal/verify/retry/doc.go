// Package retry verifies package retry from outside: a reference of its loop on
// random scripts, linearizability of its budgets, and simulations of what it is
// for. It lives here since the checkers are modules of their own.
package retry
