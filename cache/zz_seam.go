package cache

// Stand-ins for types of the layers above, until both are merged.
type (
	meta                        struct{}
	flight[K comparable, V any] struct{}
)
