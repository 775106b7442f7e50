package sqldb

import "context"

type hashMask struct{}

// WithHashMask makes what is opened with the context cut its hashes down to the
// bits of mask. For tests of what collisions do: they may cost time, and
// nothing else.
func WithHashMask(ctx context.Context, mask uint64) context.Context {
	return context.WithValue(ctx, hashMask{}, mask)
}

// HashMask returns the mask of WithHashMask, all bits if there is none.
func HashMask(ctx context.Context) uint64 {
	if mask, ok := ctx.Value(hashMask{}).(uint64); ok {
		return mask
	}
	return ^uint64(0)
}
