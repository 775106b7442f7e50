// Package index keeps the number of a hedged attempt in its context. It stands
// apart so that package retryhttp, whose requests outlive their attempt's
// context, can hand the number on to the context that it gives them instead.
package index

import "context"

type key struct{}

// With returns a child of ctx that belongs to attempt n.
func With(ctx context.Context, n int) context.Context {
	if Of(ctx) == n {
		return ctx
	}
	return context.WithValue(ctx, key{}, n)
}

// Of is the number of the attempt that ctx belongs to, and 0 if it belongs to
// none.
func Of(ctx context.Context) int {
	n, _ := ctx.Value(key{}).(int)
	return n
}
